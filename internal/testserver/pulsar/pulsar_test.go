package pulsar_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

func TestMain(m *testing.M) { os.Exit(pulsar.Main(m)) }

// answers asks the web service.
func answers(t *testing.T, s *pulsar.Server) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL()+"/admin/v2/clusters", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func TestLifeOfAServer(t *testing.T) {
	t.Parallel()
	s := pulsar.Shared(t)
	for name, end := range map[string]func() error{"SIGTERM": s.Stop, "SIGKILL": s.Kill} {
		if !answers(t, s) {
			t.Fatal("a ready server does not answer")
		}
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if answers(t, s) {
			t.Fatalf("after %s it answers", name)
		}
		before := time.Now()
		if err := s.Restart(t.Context()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		rss, _ := s.Process().RSS()
		t.Logf("after %s it is ready again in %s, %d MB resident", name, time.Since(before).Round(100*time.Millisecond), rss>>20)
	}
}
