package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

func TestWorkIsHandedOverWithoutWaiting(t *testing.T) {
	t.Parallel()
	inLab(t, 4, Options{}, func(l *lab) {
		g := l.gateway(1, 3, "q", "W", "charge")
		at := time.Now()
		l.record(1, started(), activation(1))
		l.want("start", g.take(), "activation 1#1")
		l.record(1, events.ProgressMade{Activation: 1, Attempt: 1}, task(1, "charge"), task(2, "charge"), task(3, "other"))
		l.want("progress", g.take(), "task 1/1#1", "task 1/2#1")
		l.record(1, events.TaskCompleted{Step: 1, Attempt: 1}, activation(2))
		l.want("next activation", g.take(), "activation 1#1")
		if passed := time.Since(at); passed != 0 {
			t.Errorf("hand-over took %v", passed)
		}
		backlog := l.s.Backlog()
		i := slices.IndexFunc(backlog, func(l matcher.Lane) bool { return l.Name == "other" })
		if i < 0 || backlog[i].Waiting != 1 || backlog[i].Workers != 0 {
			t.Errorf("a task nobody offers is not shown as waiting: %+v", backlog)
		}
	})
}

func TestDeliveriesSayWhereTheyComeFrom(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		g := l.gateway(1, 3, "q", "charge")
		l.record(1, started())
		l.record(1, task(1, "charge"))
		synctest.Wait()
		d := g.box.Take(10)
		if len(d) != 1 || d[0].From != 2 || d[0].Partition != 0 || d[0].Worker != g.name || d[0].Number != 1 || d[0].Task.Call == nil {
			t.Errorf("delivered %+v", d)
		}
	})
}

func TestAttemptsWaitForTheirTime(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		g := l.gateway(1, 9, "q", "charge")
		l.record(1, started(), task(1, "charge"))
		l.want("first attempt", g.take(), "task 1/1#1")
		for _, wait := range []time.Duration{30 * time.Second, 3 * time.Hour} { // in memory; only in the index
			n := events.Attempt(l.numbers[runOf(1)] - 2)
			l.record(1, events.TaskAttemptFailed{
				Step: 1, Attempt: n, Name: "charge", Queue: "q", Scheduled: 2, NotBefore: events.TimeOf(time.Now().Add(wait)),
			})
			pass(wait - time.Millisecond)
			l.want("too early", g.take())
			pass(time.Millisecond)
			l.want("in time", g.take(), fmt.Sprintf("task 1/1#%d", n+1))
		}
		l.record(1, events.TaskCompleted{Step: 1, Attempt: 3})
	})
}

func TestAGoneGatewaysWorkIsGivenAway(t *testing.T) {
	t.Parallel()
	inLab(t, 2, Options{}, func(l *lab) {
		a := l.gateway(1, 2, "q", "charge")
		l.record(1, started(), task(1, "charge"), task(2, "charge"))
		l.want("first", a.take(), "task 1/1#1", "task 1/2#1")
		b := l.gateway(2, 5, "q", "charge")
		l.record(1, events.TaskCompleted{Step: 1, Attempt: 1})
		l.want("held", b.take())
		a.box.Close()
		l.want("again", b.take(), "task 1/2#1 again(2)")
		b.report(inbox.Report{Returned: []inbox.Running{{Worker: b.name, RunID: runOf(1), Step: 2, Attempt: 1}}})
		l.want("returned", b.take(), "task 1/2#1 again(3)")
	})
}

func TestTimersFireOnceDueAndUntilAnEvent(t *testing.T) {
	t.Parallel()
	inLab(t, 2, Options{}, func(l *lab) {
		l.record(1, started(), sleep(1, 10*time.Second), sleep(2, 20*time.Second))
		l.record(2, started(), sleep(1, 10*time.Second))
		pass(9999 * time.Millisecond)
		l.want("before", l.fires())
		pass(time.Millisecond)
		l.want("due", l.fires(), "1/1", "2/1")
		l.record(2, events.TimerFired{Step: 1})
		pass(999 * time.Millisecond)
		l.want("not again yet", l.fires())
		pass(time.Millisecond)
		l.want("again after 1 s", l.fires(), "1/1")
		pass(2 * time.Second)
		l.want("again after 2 s", l.fires(), "1/1")
		pass(4 * time.Second)
		l.want("again after 4 s", l.fires(), "1/1")
		l.record(1, events.TimerFired{Step: 1}, events.TimerCancelled{Step: 2})
		pass(time.Hour)
		l.want("all over", l.fires())
		if n := l.s.Stats().Timers; n != 0 {
			t.Errorf("%d timers are left in memory", n)
		}
	})
}

func TestFarTimersLeaveMemoryAndComeBack(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		l.record(1, started(), sleep(1, time.Hour), sleep(2, 30*24*time.Hour), sleep(3, 2*time.Hour))
		pass(6 * time.Second)
		if n := l.s.Stats().Timers; n != 0 {
			t.Errorf("%d timers are in memory although none is due within an hour", n)
		}
		l.record(1, events.TimerCancelled{Step: 3})
		pass(time.Hour - 6*time.Second)
		l.want("after an hour", l.fires(), "1/1")
		l.record(1, events.TimerFired{Step: 1})
		pass(29 * 24 * time.Hour)
		l.want("cancelled in the index", l.fires())
		pass(23 * time.Hour)
		l.want("after 30 days", l.fires(), "1/2")
	})
}

func TestAnEndedRunLeavesNothing(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		l.record(1, started(), sleep(1, time.Hour), sleep(2, 10*time.Second), task(3, "nobody"))
		pass(6 * time.Second)
		l.record(1, events.RunTerminated{})
		pass(2 * time.Hour)
		l.want("timers", l.fires())
		if b := l.s.Backlog(); len(b) != 0 {
			t.Errorf("backlog %+v", b)
		}
		keys, err := l.store.DueIndex().OfRuns(l.t.Context(), 0, []events.RunID{runOf(1)}, 100)
		if err != nil || len(keys) != 0 {
			t.Errorf("the index still has %v (%v)", keys, err)
		}
	})
}

// savesOf counts what one save deletes at most.
type savesOf struct {
	dueindex.Index
	saves, most int
}

func (i *savesOf) Save(ctx context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	i.saves++
	i.most = max(i.most, len(deletes))
	return i.Index.Save(ctx, p, next, puts, deletes)
}

// TestManyRowsOfEndedRunsGoInSeveralSaves ends runs that have more rows than a save should hold, one of them alone.
func TestManyRowsOfEndedRunsGoInSeveralSaves(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{Partitions: 1})
	defer store.Close()
	index := &savesOf{Index: store.DueIndex()}
	var rows []dueindex.Item
	var ended []events.RunID
	for run, n := range []int{maxRowsOfRuns - 1, 0, maxRowsOfRuns + 2, 1, 3} {
		id := events.MakeRunID(1, [10]byte{9: byte(run)})
		for step := range n {
			rows = append(rows, dueindex.Item{Key: dueindex.Key{Kind: dueindex.KindTask, RunID: id, Timer: events.TimerID{Step: events.Step(step)}}})
		}
		ended = append(ended, id)
	}
	open := rows[len(rows)-3:] // the last run goes on
	if err := store.DueIndex().Save(t.Context(), 0, 5, rows, nil); err != nil {
		t.Fatal(err)
	}
	s := New(Deps{Index: index, Log: store.Journal()}, Options{})
	if err := s.keep(t.Context(), []Save{{Partition: 0, Next: 9, Deletes: []dueindex.Key{open[0].Key}, Ended: ended[:4]}}); err != nil {
		t.Fatal(err)
	}
	left, err := index.Due(t.Context(), 0, dueindex.KindTask, dueindex.Item{}, 1, 10)
	if err != nil || len(left) != 2 || left[0].Key != open[1].Key || left[1].Key != open[2].Key {
		t.Errorf("the index has %v (%v), want %v", left, err, open[1:])
	}
	if index.saves != 3 || index.most > maxRowsOfRuns {
		t.Errorf("%d saves of up to %d rows, want 3 of up to %d", index.saves, index.most, maxRowsOfRuns)
	}
	if next, err := index.Position(t.Context(), 0); err != nil || next != 9 {
		t.Errorf("the position is %d (%v), want 9", next, err)
	}
}

func TestScheduleToStartEndsWithTheDelivery(t *testing.T) {
	t.Parallel()
	call := func(step int) events.Event {
		return events.TaskScheduled{Step: events.Step(step), Name: "charge", Queue: "q", Options: events.TaskOptions{
			ScheduleToStart: 20 * time.Second, ScheduleToClose: 40 * time.Second,
		}}
	}
	inLab(t, 1, Options{}, func(l *lab) {
		l.record(1, started(), call(1), call(2), call(3))
		pass(6 * time.Second) // saved
		g := l.gateway(1, 2, "q", "charge")
		l.want("delivered", g.take(), "task 1/1#1", "task 1/2#1")
		g.report(inbox.Report{Left: []events.WorkerID{g.name}, Returned: []inbox.Running{{Worker: g.name, RunID: runOf(1), Step: 2, Attempt: 1}}})
		pass(14*time.Second - time.Millisecond)
		l.want("early", l.fires())
		pass(time.Millisecond)
		l.want("schedule to start", l.fires(), "1/2", "1/3")
		l.record(1, events.TaskFailed{Step: 2, Attempt: 1}, events.TaskFailed{Step: 3, Attempt: 1})
		pass(20 * time.Second)
		l.want("schedule to close", l.fires(), "1/1")
		l.crash(1000)
		pass(10 * time.Millisecond)
		for _, c := range l.commands() {
			if c.Command.(events.FireTimer).Timer.Kind == events.TimerScheduleToStart && c.Command.(events.FireTimer).Timer.Step != 1 {
				t.Errorf("a timer of an ended task came back: %+v", c.Command)
			}
		}
	})
}

func TestARunningAttemptIsNotOfferedAfterARestart(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		g := l.gateway(1, 2, "q", "charge")
		l.record(1, started(), task(1, "charge"), task(2, "charge"))
		l.want("delivered", g.take(), "task 1/1#1", "task 1/2#1")
		// The scheduler alone starts anew: the gateway's books say who has what.
		l.stop()
		l.start()
		g.credit(5)
		l.want("after the restart", g.take())
		// Everything starts anew: the worker tells what it holds when it joins.
		l.crash(1000)
		h := l.gateway(2, 0, "q", "charge")
		h.report(inbox.Report{
			Running: []inbox.Running{{Worker: h.name, RunID: runOf(1), Step: 1, Attempt: 1}},
			Credits: []inbox.Credit{{Worker: h.name, Tasks: 5}},
		})
		l.want("after the crash", h.take(), "task 1/2#1")
	})
}

func TestStartLoadsOnlyWhatIsNear(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{}, func(l *lab) {
		far := make([]events.Event, 20_000)
		for i := range far {
			far[i] = sleep(i+1, 2*time.Hour+time.Duration(i)*time.Millisecond)
		}
		l.record(1, append([]events.Event{started(), sleep(20_001, 40*time.Second)}, far...)...)
		pass(6 * time.Second)
		l.stop()
		l.start()
		pass(time.Second)
		if n := l.s.Stats().Timers; n != 1 {
			t.Errorf("%d timers were loaded at the start; 1 is due within a minute", n)
		}
		pass(2*time.Hour - 7*time.Second)
		if got := len(l.fires()); got < 2 {
			t.Errorf("%d timers fired after two hours", got)
		}
	})
}

func TestManyDueTimersComeInBounds(t *testing.T) {
	t.Parallel()
	inLab(t, 1, Options{Timers: 2000}, func(l *lab) {
		const n = 3 * maxFires
		all := make([]events.Event, n)
		for i := range all {
			all[i] = sleep(i+1, time.Hour)
		}
		l.record(1, append([]events.Event{started()}, all...)...)
		pass(10 * time.Second)
		l.stop()
		l.start()
		pass(time.Hour)
		if s := l.s.Stats(); s.Timers > 2000+rowsPerQuery+maxFires {
			t.Errorf("%d timers are in memory; the bound is 2000, one answer of the index, and what waits for an event", s.Timers)
		}
		seen := map[string]bool{}
		for round := 0; len(seen) < n && round < 100; round++ {
			if open := l.s.fires.open.Load(); open > maxFires {
				t.Fatalf("%d timers are asked for and not answered; the bound is %d", open, maxFires)
			}
			var fired []events.Event
			for _, c := range l.commands() {
				step := c.Command.(events.FireTimer).Timer.Step
				if key := fmt.Sprint(step); !seen[key] {
					seen[key] = true
					fired = append(fired, events.TimerFired{Step: step})
				}
			}
			if len(fired) > 0 {
				l.record(1, fired...)
			}
			pass(time.Second)
		}
		if len(seen) != n {
			t.Errorf("%d of %d timers fired", len(seen), n)
		}
	})
}

func TestFullNamesDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	// Two names have far more to do than memory holds, and no worker. The third gets through all the same, and the
	// backlog that only the index has comes back in order.
	o := Options{Backlog: matcher.Limits{Lane: 20, Total: 40, Floor: 10}, SaveRecords: 50}
	inLab(t, 3, o, func(l *lab) {
		const n = 300
		for i := range n {
			l.record(i, started(), task(1, "dead"), task(2, "deader"), task(3, "charge"))
		}
		pass(6 * time.Second)
		inMemory := 0
		for _, lane := range l.s.Backlog() {
			if lane.Waiting != n {
				t.Errorf("%s: %d wait, want %d", lane.Name, lane.Waiting, n)
			}
		}
		l.s.mu.Lock()
		for range l.s.runs {
			inMemory++
		}
		l.s.mu.Unlock()
		if inMemory > 3*20 {
			t.Errorf("%d runs are in memory", inMemory)
		}
		g := l.gateway(1, 7, "q", "charge")
		seen := map[string]bool{}
		for round := 0; len(seen) < n && round < n; round++ {
			got := g.take()
			for _, d := range got {
				if seen[d] {
					t.Fatalf("%s came twice", d)
				}
				seen[d] = true
			}
			g.credit(len(got))
		}
		if len(seen) != n {
			t.Fatalf("%d of %d tasks were delivered: %+v", len(seen), n, l.s.Backlog())
		}
		for i := range n {
			l.record(i, events.TaskCompleted{Step: 3, Attempt: 1}, events.TaskCancelled{Step: 1, Attempt: 1})
		}
		h := l.gateway(2, n, "q", "dead", "deader")
		pass(time.Second)
		if got := h.take(); len(got) != n {
			t.Errorf("%d of %d tasks were delivered when a worker came", len(got), n)
		}
	})
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	inLab(t, 4, Options{SaveRecords: 3}, func(l *lab) {
		g := l.gateway(1, 1000, "q", "W", "charge")
		for i := range 50 {
			l.record(i, started(), activation(1), task(1, "charge"))
			l.stop()
			l.record(i, events.ProgressMade{Activation: 1, Attempt: 1}, task(2, "charge"))
			l.start()
		}
		got := g.take()
		for i := range 50 {
			for step := 1; step <= 2; step++ {
				if want := fmt.Sprintf("task %d/%d#1", i, step); !slices.Contains(got, want) {
					t.Fatalf("%s was not delivered in %d restarts", want, 50)
				}
			}
		}
	})
}

// truth is what is open by the log.
type truth struct {
	tasks  map[string]int // run/step → attempt
	timers map[string]events.Time
}

func TestCrashesForgetNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, Options{SaveEvery: 300 * time.Millisecond, SaveRecords: 7, Timers: 20, Backlog: matcher.Limits{Lane: 5, Total: 20, Floor: 2}}, func(l *lab) {
				crashes(l, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

// crashes writes a random log while the scheduler is killed again and again, and compares at the end what it offers with
// what is open.
func crashes(l *lab, r *rand.Rand) {
	known := truth{map[string]int{}, map[string]events.Time{}}
	step, ended := map[int]int{}, map[int]bool{}
	for range 400 {
		n := r.IntN(20)
		if ended[n] {
			continue
		}
		key := func(s int) string { return fmt.Sprintf("%d/%d", n, s) }
		if step[n] == 0 {
			l.record(n, started())
			step[n] = 1
			continue
		}
		some := 1 + r.IntN(step[n])
		switch r.IntN(9) {
		case 0, 1:
			l.record(n, task(step[n], []string{"a", "b"}[r.IntN(2)]))
			known.tasks[key(step[n])] = 1
			step[n]++
		case 2, 3:
			due := time.Duration(r.IntN(200)) * time.Second
			l.record(n, sleep(step[n], due))
			known.timers[key(step[n])] = events.TimeOf(time.Now().Add(due))
			step[n]++
		case 4:
			if a := known.tasks[key(some)]; a > 0 {
				l.record(n, events.TaskAttemptFailed{
					Step: events.Step(some), Attempt: events.Attempt(a), Name: "a", Queue: "q",
					NotBefore: events.TimeOf(time.Now().Add(time.Duration(r.IntN(100)) * time.Second)),
				})
				known.tasks[key(some)]++
			}
		case 5:
			if a := known.tasks[key(some)]; a > 0 {
				l.record(n, events.TaskCompleted{Step: events.Step(some), Attempt: events.Attempt(a)})
				delete(known.tasks, key(some))
			}
			if _, ok := known.timers[key(some)]; ok {
				l.record(n, events.TimerFired{Step: events.Step(some)})
				delete(known.timers, key(some))
			}
		case 6:
			if r.IntN(6) == 0 {
				l.record(n, events.RunTerminated{})
				for s := range step[n] {
					delete(known.tasks, key(s))
					delete(known.timers, key(s))
				}
				ended[n] = true
			}
		case 7:
			pass(time.Duration(r.IntN(20)) * 100 * time.Millisecond)
		case 8:
			if r.IntN(4) == 0 {
				l.crash(r.IntN(4))
			}
		}
	}
	l.crash(r.IntN(100))
	l.fired = nil
	g := l.gateway(9, 10_000, "q", "a", "b")
	asked := map[string]bool{}
	delivered := map[string]bool{}
	for range 60 {
		pass(5 * time.Second)
		for _, f := range l.fires() {
			asked[f] = true
		}
		for _, d := range g.take() {
			if delivered[d] {
				l.t.Fatalf("%s was delivered twice", d)
			}
			delivered[d] = true
		}
	}
	for key, attempt := range known.tasks {
		if want := fmt.Sprintf("task %s#%d", key, attempt); !delivered[want] {
			l.t.Errorf("%s is open and was not delivered", want)
		}
	}
	if len(delivered) != len(known.tasks) {
		l.t.Errorf("%d tasks were delivered, %d are open: %v", len(delivered), len(known.tasks), delivered)
	}
	for key := range known.timers {
		if !asked[key] {
			l.t.Errorf("timer %s is armed and was not asked for", key)
		}
	}
	if len(asked) != len(known.timers) {
		l.t.Errorf("%d timers were asked for, %d are armed", len(asked), len(known.timers))
	}
}
