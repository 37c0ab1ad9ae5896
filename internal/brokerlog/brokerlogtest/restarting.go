package brokerlogtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

func testRestartKeeps(t *testing.T, f Fixture) {
	if f.Restart == nil {
		t.Skip("this broker cannot be restarted")
	}
	at := twice(t, f)
	keep(t, f, "slow", at[10])
	keep(t, f, "fast", at[15])
	live := reader(t, f.Log, brokerlog.Events, 0, at[20])
	a := appender(t, f.Log, brokerlog.Events, 0)
	f.Restart(t)
	f.trim(t, brokerlog.Events, 0)
	continues(t, f, at, 10)
	end, err := f.Log.End(bg(t), brokerlog.Events, 0)
	check(t, err)
	if end != at[20] {
		t.Errorf("the log ends at %v after a restart, at %v before", end, at[20])
	}
	appendAll(t, a, "new")
	sameBodies(t, read(t, live, 1), []string{"new"})
	check(t, f.Log.Keep(bg(t), brokerlog.Events, 0, "slow", at[5])) // before the one that it had
	f.trim(t, brokerlog.Events, 0)
	if r, err := f.Log.Read(bg(t), brokerlog.Events, 0, at[10]); err != nil {
		t.Errorf("what was held before a restart: %v", err)
	} else {
		r.Close()
	}
}

// testRestartUnderLoad restarts the broker while several append: what was acknowledged is there, in the order of its appender,
// and a reader that was there all the time has seen the same as one that comes afterwards.
func testRestartUnderLoad(t *testing.T, f Fixture) {
	if f.Restart == nil {
		t.Skip("this broker cannot be restarted")
	}
	const appenders, most = 3, 5000
	ctx := bg(t)
	stop, stored := make(chan struct{}), make(chan struct{}, 1)
	var group sync.WaitGroup
	var mu sync.Mutex
	acked := map[string]bool{}
	for n := range appenders {
		a := appender(t, f.Log, brokerlog.Events, events.Partition(n%2))
		group.Go(func() {
			outcome := make(chan error, 1)
			for i := range most {
				body := fmt.Sprintf("%d-%d", n, i)
				a.Append(ctx, []byte(body), func(err error) { outcome <- err })
				if <-outcome == nil {
					mu.Lock()
					acked[body] = true
					mu.Unlock()
				}
				select {
				case stored <- struct{}{}:
				case <-stop:
					return
				}
			}
		})
	}
	some := func() {
		for range 200 {
			select {
			case <-stored:
			case <-ctx.Done():
				t.Fatal("nothing was acknowledged")
			}
		}
	}
	live := []brokerlog.Reader{reader(t, f.Log, brokerlog.Events, 0, fold.Position{}), reader(t, f.Log, brokerlog.Events, 1, fold.Position{})}
	some()
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		f.Restart(t)
	}()
	for waiting := true; waiting; {
		select {
		case <-stored:
		case <-restarted:
			waiting = false
		}
	}
	some()
	close(stop)
	group.Wait()

	seen := map[string]bool{}
	for p, r := range live {
		end, err := f.Log.End(bg(t), brokerlog.Events, events.Partition(p))
		check(t, err)
		late := reader(t, f.Another(t), brokerlog.Events, events.Partition(p), fold.Position{})
		next := map[int]int{}
		for at := (fold.Position{}); at != end; {
			m, same := one(ctx, t, r), one(ctx, t, late)
			if m.At != same.At || string(m.Body) != string(same.Body) {
				t.Fatalf("one reader has %q at %v, one that came later %q at %v", m.Body, m.At, same.Body, same.At)
			}
			if m.At.Compare(at) <= 0 {
				t.Fatalf("%v follows %v", m.At, at)
			}
			at = m.At
			body := string(m.Body)
			var who, i int
			if _, err := fmt.Sscanf(body, "%d-%d", &who, &i); err != nil {
				t.Fatal(err)
			}
			if !seen[body] && i < next[who] {
				t.Errorf("%s came behind %d-%d", body, who, next[who]-1)
			}
			next[who], seen[body] = max(next[who], i+1), true
		}
	}
	for body := range acked {
		if !seen[body] {
			t.Errorf("%s was acknowledged and is lost", body)
		}
	}
	t.Logf("%d acknowledged, %d read, 0 lost", len(acked), len(seen))
}

func one(ctx context.Context, t *testing.T, r brokerlog.Reader) fold.Message {
	messages, err := r.Next(ctx, 1)
	if err != nil || len(messages) != 1 {
		t.Fatalf("Next(1) returned %d messages, error %v", len(messages), err)
	}
	return messages[0]
}
