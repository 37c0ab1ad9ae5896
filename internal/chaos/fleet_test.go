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
		does   string // the process, as a shell says it
		away   bool   // the broker, at the first start
		broker bool   // it is started, not a service
		starts int
		fails  bool
	}{
		"broker away":                 {does: "exit 1", away: true, starts: 2},
		"panic, broker away":          {does: "exit 2", away: true, starts: 1, fails: true},
		"broker there":                {does: "exit 1", starts: 1, fails: true},
		"running, but never ready":    {does: "sleep 60", away: true, starts: 1, fails: true},
		"a broker that does not come": {does: "exit 1", away: true, broker: true, starts: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fleet{c: &campaign{Options: Options{Out: t.Output()}, clock: clock.Real()}}
			back := func() {}
			if c.away {
				back = f.leave(Part{Broker: true})
			}
			process, err := child.Start(child.Program{Name: name, Path: "sh", Args: []string{"-c", c.does}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := process.Kill(); err != nil {
					t.Error(err)
				}
			})
			if c.does != "sleep 60" {
				<-process.Gone()
			}
			starts := 0
			err = f.supervise(t.Context(), Part{Name: name, Broker: c.broker, Process: func() *child.Process { return process }}, func() error {
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
