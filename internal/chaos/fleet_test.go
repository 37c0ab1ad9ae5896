package chaos

import (
	"errors"
	"testing"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/clock"
)

// TestAServiceWithoutABrokerIsStartedAgain: ending at the start is no finding while a broker is away, and one at any other time.
func TestAServiceWithoutABrokerIsStartedAgain(t *testing.T) {
	t.Parallel()
	ended := errors.New("the server ended before it was ready")
	for name, c := range map[string]struct {
		path   string // of the process
		away   bool   // the broker, at the first start
		broker bool   // it is started, not a service
		starts int
		fails  bool
	}{
		"broker away":                 {path: "false", away: true, starts: 2},
		"broker there":                {path: "false", starts: 1, fails: true},
		"running, but never ready":    {path: "sleep", away: true, starts: 1, fails: true},
		"a broker that does not come": {path: "false", away: true, broker: true, starts: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fleet{c: &campaign{clock: clock.Real()}}
			back := func() {}
			if c.away {
				back = f.leave(Part{Broker: true})
			}
			process, err := child.Start(child.Program{Name: name, Path: c.path, Args: []string{"60"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := process.Kill(); err != nil {
					t.Error(err)
				}
			})
			if c.path == "false" {
				<-process.Gone()
			}
			starts := 0
			err = f.supervise(Part{Name: name, Broker: c.broker, Process: func() *child.Process { return process }}, func() error {
				if starts++; starts > 1 {
					return nil
				}
				back()
				return ended
			})
			if starts != c.starts || errors.Is(err, ended) != c.fails {
				t.Errorf("%d starts, %v", starts, err)
			}
		})
	}
}
