package projector

import (
	"fmt"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/clock/clocktest"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestRowsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for i := range 50 {
			l.record(i, started())
			l.record(i, events.RunCompleted{})
		}
		pass(249 * time.Millisecond)
		l.want("before the delay", l.status(7), "not found")
		pass(time.Millisecond)
		l.want("after it", l.status(7), "completed")
		if s := l.p.Stats(); l.model.applies != 1 || s.Rows != 50 || s.Events != 100 || s.Partitions[0].LagRecords != 0 {
			t.Errorf("%d writes, %+v; want one of 50 rows", l.model.applies, s)
		}
		l.record(7, events.RunPurged{})
		pass(250 * time.Millisecond)
		l.want("purged", l.status(7), "not found")
		holds, err := l.store.Journal().Holds("projector")
		if err != nil || len(holds) != 1 || holds[0].Next != 102 {
			t.Errorf("the log is held at %v (%v)", holds, err)
		}
		pass(time.Hour)
		if l.model.applies != 2 {
			t.Errorf("%d writes although nothing happened", l.model.applies)
		}
	})
}

// A start that is repeated after its run was forgotten begins the run anew: the deletion and the new row do not get into one
// write, whatever comes in one turn.
func TestARunThatBeginsAgainIsThere(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started())
		pass(time.Second)
		l.record(1, events.RunCompleted{})
		l.record(1, events.RunPurged{})
		l.numbers[runOf(1)] = 1
		l.record(1, started())
		l.record(2, started(), events.RunCompleted{})
		l.record(2, events.RunPurged{})
		l.numbers[runOf(2)] = 1
		l.record(2, started())
		pass(time.Second)
		l.want("a run that was stored", l.status(1), "running")
		l.want("a run that was not", l.status(2), "running")
	})
}

func TestWhoWaitsIsServedAtOnce(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		at := time.Now()
		l.record(1, started())
		l.p.Nudge()
		if err := l.model.WaitFor(l.t.Context(), 0, l.last); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(at); waited != 0 {
			t.Errorf("a nudged write took %v", waited)
		}
		l.want("status", l.status(1), "running")
	})
}

// A batch builds on the rows that the one before has written. Rows that were not written by this life of the projector,
// or are large, come from the model.
func TestRowsJustWrittenAreNotAskedFor(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		l.record(1, started())
		l.record(2, started(), events.ViewSet{Name: "v", Value: events.Payload{Data: make([]byte, maxKnownViews+1)}})
		pass(time.Second)
		for index := range uint64(3) {
			l.record(1, events.SignalReceived{Name: "s", Index: index + 1})
			pass(time.Second)
		}
		l.want("rows asked for", fmt.Sprint(l.model.asked), "0")
		l.record(2, events.SignalReceived{Name: "s", Index: 1})
		pass(time.Second)
		l.want("rows asked for", fmt.Sprint(l.model.asked), "1")
		l.stop()
		l.start(clocktest.Bubble())
		l.record(1, events.SignalReceived{Name: "s", Index: 4})
		pass(time.Second)
		l.want("rows asked for", fmt.Sprint(l.model.asked), "2")
		r, err := l.model.Run(l.t.Context(), "default", "wf-1", runOf(1))
		if err != nil {
			t.Fatal(err)
		}
		l.want("unread", fmt.Sprint(r.Unread, r.Inbox), "4 [{s 4 0}]")
	})
}

func TestManyEventsDoNotWait(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		at := time.Now()
		for i := range 6_000 {
			many := make([]events.Event, 20)
			for n := range many {
				many[n] = events.SignalReceived{Name: "s", Index: uint64(20*i + n)}
			}
			l.record(i%3, many...)
		}
		if err := l.model.WaitFor(l.t.Context(), 0, 5_000); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(at); waited > readEvery {
			t.Errorf("120,000 events waited %v", waited)
		}
	})
}

// Under load a batch collects longer, so that more runs begin and end within one.
func TestUnderLoadABatchCollectsLonger(t *testing.T) {
	t.Parallel()
	inLab(t, func(l *lab) {
		for i := range 5_000 {
			l.record(i, started())
		}
		pass(999 * time.Millisecond)
		l.want("before its end", l.status(7), "not found")
		pass(time.Millisecond)
		l.want("at its end", l.status(7), "running")
		if l.model.applies != 1 {
			t.Errorf("%d writes", l.model.applies)
		}
	})
}

// What a batch keeps in memory is bounded, whether its runs began in it or before, and large payloads end it early.
func TestLargeEventsDoNotWait(t *testing.T) {
	t.Parallel()
	large := events.Payload{Data: make([]byte, 64<<10)}
	for name, began := range map[string]bool{"runs that begin": true, "runs that are open": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, func(l *lab) {
				const runs = 1_000
				for i := range runs {
					if began {
						break
					}
					l.record(i, started())
				}
				pass(time.Second)
				applies, at := l.model.applies, time.Now()
				for i := range runs {
					if began {
						l.record(i, started(), events.ViewSet{Name: "v", Value: large})
					} else {
						l.record(i, events.ViewSet{Name: "v", Value: large})
					}
				}
				if err := l.model.WaitFor(l.t.Context(), 0, l.last/2); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(at); waited > readEvery {
					t.Errorf("64 MiB waited %v", waited)
				}
				pass(time.Second)
				if batches := l.model.applies - applies; batches < 3 || batches > 6 {
					t.Errorf("64 MiB are %d writes", batches)
				}
				for n := range 3 {
					r, err := l.model.Run(t.Context(), "default", events.WorkflowID(fmt.Sprint("wf-", n*400)), runOf(n*400))
					if err != nil || len(r.Views) != 1 || len(r.Views[0].Value.Data) != len(large.Data) {
						t.Errorf("run %d has %d views (%v)", n*400, len(r.Views), err)
					}
				}
			})
		})
	}
}
