package clickhouse

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/readmodeltest"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
)

func TestMain(m *testing.M) {
	code := clickhouse.Main(m)
	if err := goleak.Find(goleak.IgnoreTopFunction("os/signal.NotifyContext.func1")); code == 0 && err != nil {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

// open opens a model in a database of the shared server.
func open(t testing.TB, o Options) *Model {
	t.Helper()
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func fresh(t testing.TB) (Options, *Model) {
	t.Helper()
	s := clickhouse.Shared(t)
	o := Options{URL: s.URL(s.NewDatabase())}
	m := open(t, o)
	if err := m.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	return o, m
}

func TestConforms(t *testing.T) {
	t.Parallel()
	readmodeltest.RunBriefly(t, func(t testing.TB) readmodel.Model {
		_, m := fresh(t)
		return m
	})
}
