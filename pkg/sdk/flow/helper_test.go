package flow_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a test that writes down what fails it.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func record(t testing.TB) *recorder {
	r := &recorder{TB: t}
	t.Cleanup(r.end)
	return r
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// end runs what the test left to be cleaned up, once.
func (r *recorder) end() {
	r.mu.Lock()
	cleanups := r.cleanups
	r.cleanups = nil
	r.mu.Unlock()
	for _, f := range cleanups {
		f()
	}
}

// text returns all failures.
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.failures, "\n")
}

// wants fails the test unless text has all parts.
func wants(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in: %s", p, text)
		}
	}
}

var (
	testFlow = flow.NewWorkflow[int, string]("test.Flow")
	double   = flow.NewTask[int, int]("test.Double")
)

// play runs code as a workflow until it ends.
func play(t testing.TB, code func(flow.Context, int) (string, error), bindings ...flow.Binding) (string, *flowtest.Env, error) {
	t.Helper()
	env := flowtest.New(t, append(bindings, testFlow.With(code))...)
	out, err := testFlow.Run(context.Background(), env, 1, flow.ID("test"))
	return out, env, err
}

func doubled(_ context.Context, n int) (int, error) { return 2 * n, nil }

// count counts events in the history of the run that play ran.
func count[E events.Event](t testing.TB, env *flowtest.Env) (n int) {
	t.Helper()
	_, records, err := events.UnmarshalHistory(env.History("test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		for _, e := range r.Events {
			if _, ok := e.(E); ok {
				n++
			}
		}
	}
	return n
}
