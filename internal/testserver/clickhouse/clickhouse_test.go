package clickhouse_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
)

func TestMain(m *testing.M) { os.Exit(clickhouse.Main(m)) }

func ask(t *testing.T, url, statement string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(statement))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

func TestWhatWasAcknowledgedIsThereAfterAKill(t *testing.T) {
	t.Parallel()
	s := clickhouse.Start(t, clickhouse.Options{})
	base := "http://" + s.Addr + "/"
	for _, statement := range []string{
		"CREATE DATABASE d", "CREATE TABLE d.t (x UInt64) ENGINE = MergeTree ORDER BY x", "INSERT INTO d.t SELECT number FROM numbers(1000)",
	} {
		if status, answer := ask(t, base, statement); status != http.StatusOK {
			t.Fatalf("%s: %s", statement, answer)
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, answer := ask(t, base+"?database=d", "SELECT sum(x) FROM t"); answer != "499500" {
		t.Fatalf("after a kill: %s", answer)
	}
}

func TestAPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	s := clickhouse.Start(t, clickhouse.Options{User: "continuo", Password: "right"})
	if status, answer := ask(t, "http://continuo:wrong@"+s.Addr+"/", "SELECT 1"); status != http.StatusForbidden || !strings.Contains(answer, "Code: 516.") {
		t.Fatalf("wrong password: %d %s", status, answer)
	}
	if _, answer := ask(t, "http://continuo:right@"+s.Addr+"/", "SELECT 1"); answer != "1" {
		t.Fatalf("right password: %s", answer)
	}
}

func TestTheSharedServerTakesParametersAndSettings(t *testing.T) {
	t.Parallel()
	s := clickhouse.Shared(t)
	if s != clickhouse.Shared(t) {
		t.Fatal("there are two")
	}
	for range 8 { // on each of its connections
		for _, at := range []struct{ query, want string }{
			{"?param_x=it%5C%27s&max_threads=3", `it\'s 3`}, // values are escaped as fields of TSV, both ways
			{"?param_x=plain", "plain"},                     // the setting was put back
		} {
			_, answer := ask(t, "http://"+s.Addr+"/"+at.query, "SELECT {x:String} || if(getSetting('max_threads') = 3, ' 3', '')")
			if answer != at.want {
				t.Fatalf("%s: %q, want %q", at.query, answer, at.want)
			}
		}
	}
}
