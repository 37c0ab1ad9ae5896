package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/brokerlogtest"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

func connect(t *testing.T, b *memory.Broker) *memory.BrokerLog {
	l := b.Connect()
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestBrokerLog(t *testing.T) {
	t.Parallel()
	for _, o := range []memory.BrokerOptions{{Partitions: 2, MaxPending: 8}, {Partitions: 3, MaxPending: 8, Batch: 4}, {Partitions: 2, MaxPending: 8, KeepAll: true}} {
		t.Run(fmt.Sprintf("batch %d, keep all %v", o.Batch, o.KeepAll), func(t *testing.T) {
			t.Parallel()
			features := memory.BrokerFeatures
			features.KeepsAsked = !o.KeepAll
			brokerlogtest.Test(t, features, func(t *testing.T) brokerlogtest.Fixture {
				b := memory.NewBroker(o)
				var mu sync.Mutex
				var all []*memory.BrokerLog
				another := func(t *testing.T) brokerlog.Log {
					l := connect(t, b)
					mu.Lock()
					defer mu.Unlock()
					all = append(all, l)
					return l
				}
				stall := func(*testing.T) func() {
					mu.Lock()
					logs := slices.Clone(all)
					mu.Unlock()
					for _, l := range logs {
						l.Cut()
					}
					return func() {
						for _, l := range logs {
							l.Heal()
						}
					}
				}
				return brokerlogtest.Fixture{
					Log: another(t), Another: another, MaxPending: o.MaxPending, Stall: stall,
					Restart: func(t *testing.T) {
						resume := stall(t)
						b.Restart()
						resume()
					},
				}
			})
		})
	}
}

// outcome appends a message and waits for what becomes of it.
func outcome(t *testing.T, l *memory.BrokerLog, body string) error {
	t.Helper()
	a, err := l.Appender(t.Context(), brokerlog.Events, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	a.Append(t.Context(), []byte(body), func(err error) { done <- err })
	return <-done
}

func bodies(t *testing.T, l *memory.BrokerLog, n int) []string {
	t.Helper()
	r, err := l.Read(t.Context(), brokerlog.Events, 0, fold.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []string
	for len(all) < n {
		messages, err := r.Next(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			all = append(all, string(m.Body))
		}
	}
	return all
}

func TestBrokerFaults(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{})
	l := connect(t, b)
	fates := map[string]memory.AppendFault{
		"failed": memory.AppendFailed, "stored and failed": memory.AppendStoredFailed, "late": memory.AppendLate, "twice": memory.AppendTwice,
	}
	b.SetFaults(memory.BrokerFaults{Append: func(_ brokerlog.Topic, _ events.Partition, body []byte) memory.AppendFault {
		return fates[string(body)]
	}})
	for body, fails := range map[string]bool{"failed": true, "twice": false} {
		if err := outcome(t, l, body); (err != nil) != fails {
			t.Errorf("%s: told %v", body, err)
		}
	}
	for _, body := range []string{"late", "stored and failed"} {
		if err := outcome(t, l, body); err == nil {
			t.Errorf("%s: told that it is there", body)
		}
	}
	if n := b.Arrive(10); n != 1 {
		t.Errorf("%d messages were late", n)
	}
	want := []string{"twice", "twice", "stored and failed", "late"}
	if got := bodies(t, l, 4); !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

func TestBrokerTellsLateOrNever(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{})
	l, dead, other := connect(t, b), connect(t, b), connect(t, b)
	b.SetFaults(memory.BrokerFaults{Append: func(brokerlog.Topic, events.Partition, []byte) memory.AppendFault { return memory.AppendStoredUntold }})
	for _, log := range []*memory.BrokerLog{l, dead} {
		a, err := log.Appender(t.Context(), brokerlog.Events, 0)
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan error, 1)
		a.Append(t.Context(), []byte("m"), func(err error) { told <- err })
		if log == dead {
			bodies(t, other, 2)
			log.Kill()
			if len(told) > 0 {
				t.Error("a dead process was told of its append")
			}
			continue
		}
		bodies(t, other, 1)
		a.Close()
		if err := <-told; !errors.Is(err, brokerlog.ErrClosed) {
			t.Errorf("told %v, want that the appender is closed", err)
		}
	}
}

func TestBrokerLosesItsTail(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Batch: 2})
	l := connect(t, b)
	for n := range 5 {
		if err := outcome(t, l, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	end, _ := l.End(t.Context(), brokerlog.Events, 0)
	r, err := l.Read(t.Context(), brokerlog.Events, 0, end)
	if err != nil {
		t.Fatal(err)
	}
	b.LoseTail(brokerlog.Events, 0, 2)
	if _, err := l.Read(t.Context(), brokerlog.Events, 0, end); !errors.Is(err, brokerlog.ErrAhead) {
		t.Errorf("Read behind the lost tail: %v", err)
	}
	for n := range 3 { // what the reader had passed is used again
		if err := outcome(t, l, fmt.Sprint("again", n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(t.Context(), 1); !errors.Is(err, brokerlog.ErrAhead) {
		t.Errorf("Next over the lost tail: %v", err)
	}
	if got := bodies(t, l, 6); !slices.Equal(got, []string{"0", "1", "2", "again0", "again1", "again2"}) {
		t.Errorf("the log has %q", got)
	}
}

func TestBrokerForgetsInSpiteOfHolds(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{})
	l := connect(t, b)
	if err := l.Keep(context.Background(), brokerlog.Events, 0, "reader", fold.Position{}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := outcome(t, l, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Read(t.Context(), brokerlog.Events, 0, fold.Position{})
	if err != nil {
		t.Fatal(err)
	}
	end, _ := l.End(t.Context(), brokerlog.Events, 0)
	b.Forget(brokerlog.Events, 0, end)
	if _, err := r.Next(t.Context(), 1); !errors.Is(err, brokerlog.ErrTrimmed) {
		t.Errorf("Next of what was forgotten: %v", err)
	}
	if again, _ := l.End(t.Context(), brokerlog.Events, 0); again != end {
		t.Errorf("the log ended at %v and ends at %v", end, again)
	}
}
