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

// place is a partition of a topic.
type place struct {
	topic brokerlog.Topic
	p     events.Partition
}

// load is what several appenders append while the broker restarts, each with some messages on their way at once.
type load struct {
	mu     sync.Mutex
	acked  map[string]bool
	stored chan struct{} // takes a value for each message that was acknowledged
	stop   chan struct{}
}

// append appends until it is stopped, or enough.
func (l *load) append(ctx context.Context, a brokerlog.Appender, who int) {
	const most, window = 20_000, 16
	places := make(chan struct{}, window)
	defer func() { // all outcomes are there
		for range window {
			places <- struct{}{}
		}
	}()
	for i := range most {
		select {
		case places <- struct{}{}:
		case <-l.stop:
			return
		}
		body := fmt.Sprintf("%d-%d", who, i)
		a.Append(ctx, []byte(body), func(err error) {
			if err == nil {
				l.mu.Lock()
				l.acked[body] = true
				l.mu.Unlock()
				select {
				case l.stored <- struct{}{}:
				default:
				}
			}
			<-places
		})
	}
}

// some waits until something is acknowledged after now, n times.
func (l *load) some(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-l.stored:
		case <-ctx.Done():
			t.Fatal("nothing was acknowledged")
		}
	}
}

// testRestartUnderLoad restarts the broker while several append: what was acknowledged is there, in the order of its appender,
// and a reader that was there all the time has seen the same as one that comes afterwards.
func testRestartUnderLoad(t *testing.T, f Fixture) {
	if f.Restart == nil {
		t.Skip("this broker cannot be restarted")
	}
	ctx := bg(t)
	l := &load{acked: map[string]bool{}, stored: make(chan struct{}, 1), stop: make(chan struct{})}
	places := []place{{brokerlog.Events, 0}, {brokerlog.Events, 1}, {brokerlog.Commands, 0}}
	live := map[place]brokerlog.Reader{}
	for _, at := range places {
		live[at] = reader(t, f.Log, at.topic, at.p, fold.Position{})
	}
	var group sync.WaitGroup
	for who := range 2 * len(places) {
		a := appender(t, f.Log, places[who%len(places)].topic, places[who%len(places)].p)
		group.Go(func() { l.append(ctx, a, who) })
	}
	l.some(ctx, t, 100)
	f.Restart(t)
	l.some(ctx, t, 100)
	close(l.stop)
	group.Wait()

	seen := map[string]bool{}
	for _, at := range places {
		end, err := f.Log.End(ctx, at.topic, at.p)
		check(t, err)
		compare(ctx, t, live[at], reader(t, f.Another(t), at.topic, at.p, fold.Position{}), end, seen)
	}
	for body := range l.acked {
		if !seen[body] {
			t.Errorf("%s was acknowledged and is lost", body)
		}
	}
	t.Logf("%d acknowledged, %d read, none lost", len(l.acked), len(seen))
}

// compare reads the same twice and looks at the order of each appender.
func compare(ctx context.Context, t *testing.T, live, late brokerlog.Reader, end fold.Position, seen map[string]bool) {
	t.Helper()
	next := map[int]int{}
	for at := (fold.Position{}); at != end; {
		m, same := one(ctx, t, live), one(ctx, t, late)
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
			t.Errorf("%s came first behind %d-%d", body, who, next[who]-1)
		}
		next[who], seen[body] = max(next[who], i+1), true
	}
}

func one(ctx context.Context, t *testing.T, r brokerlog.Reader) fold.Message {
	messages, err := r.Next(ctx, 1)
	if err != nil || len(messages) != 1 {
		t.Fatalf("Next(1) returned %d messages, error %v", len(messages), err)
	}
	return messages[0]
}
