package brokerinbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerinbox"
	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

const gatewayRole = brokerinbox.DefaultGatewayRole

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func task(worker events.WorkerID, step int) inbox.Delivery {
	return inbox.Delivery{Worker: worker, Number: 1, Task: &events.OpenTask{
		Namespace: "default", WorkflowID: "w", Task: events.TaskID{Run: events.RunID{1}, Step: events.Step(step)}, Attempt: 1, Name: "t", Queue: "q",
	}}
}

// gate is an open session with one worker of some places.
type gate struct {
	end

	session events.SessionID
	mailbox inbox.Mailbox
}

func (g gate) worker() events.WorkerID { return events.WorkerID(fmt.Sprint("worker of ", g.session)) }

func openGate(t *testing.T, e end, session events.SessionID, slots int) gate {
	t.Helper()
	m, err := e.Open(t.Context(), session)
	check(t, err)
	g := gate{e, session, m}
	check(t, g.Report(inbox.Report{
		Session: session, Joined: []inbox.Worker{{Session: session, ID: g.worker(), Queue: "q", TaskSlots: slots}},
		Credits: []inbox.Credit{{Worker: g.worker(), Tasks: slots}},
	}))
	return g
}

// take waits for the next deliveries and returns their steps.
func (g gate) take(t *testing.T, n int) []int {
	t.Helper()
	steps, err := g.takes(within(t), n)
	check(t, err)
	return steps
}

func (g gate) takes(ctx context.Context, n int) (steps []int, err error) {
	for {
		for _, d := range g.mailbox.Take(n - len(steps)) {
			steps = append(steps, int(d.Task.Task.Step))
		}
		if len(steps) == n {
			return steps, nil
		}
		select {
		case <-g.mailbox.Ready():
		case <-ctx.Done():
			return nil, fmt.Errorf("%v came, want %d deliveries", steps, n)
		}
	}
}

// view is what a follower knows of the sessions.
type view struct {
	inbox.Reports

	all map[events.SessionID]inbox.Report // added up; only what the tests look at
	n   map[events.SessionID]int          // how often it was said to be gone
}

func follow(t *testing.T, e end) *view {
	t.Helper()
	r, err := e.Reports(within(t))
	check(t, err)
	t.Cleanup(r.Close)
	return &view{r, map[events.SessionID]inbox.Report{}, map[events.SessionID]int{}}
}

// until takes reports until something holds.
func (v *view) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for ctx := within(t); ; {
		for _, r := range v.Take(100) {
			v.apply(r)
		}
		if holds() {
			return
		}
		select {
		case <-v.Ready():
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s: %+v, gone %v", what, v.all, v.n)
		}
	}
}

func (v *view) apply(r inbox.Report) {
	if r.Gone {
		delete(v.all, r.Session)
		v.n[r.Session]++
		return
	}
	sum := v.all[r.Session]
	sum.Joined = append(sum.Joined, r.Joined...)
	sum.Running = append(sum.Running, r.Running...)
	if sum.Credits == nil {
		sum.Credits = []inbox.Credit{{}}
	}
	for _, c := range r.Credits {
		sum.Credits[0].Tasks += c.Tasks
	}
	v.all[r.Session] = sum
}

func (v *view) knows(t *testing.T, g gate, credits int) {
	t.Helper()
	v.until(t, fmt.Sprintf("session %d has %d places", g.session, credits), func() bool {
		r, ok := v.all[g.session]
		return ok && r.Credits[0].Tasks == credits
	})
}

// ready waits until the scheduler knows the gates, and nobody has anything to say any more: who begins asks, and that may come
// to pass twice.
func (v *view) ready(t *testing.T, scheduler end, gates ...gate) {
	t.Helper()
	for _, g := range gates {
		settled{t, g.end, scheduler}.settle()
	}
	for _, r := range v.Take(1000) {
		v.apply(r)
	}
	for _, g := range gates {
		if v.all[g.session].Joined == nil {
			t.Fatalf("session %d is not known", g.session)
		}
	}
	clear(v.n)
}

func (v *view) running(session events.SessionID) (steps []int) {
	for _, r := range v.all[session].Running {
		steps = append(steps, int(r.Step))
	}
	slices.Sort(steps)
	return steps
}

func (v *view) deliver(t *testing.T, e end, g gate, steps ...int) {
	t.Helper()
	var all []inbox.Delivery
	for _, step := range steps {
		all = append(all, task(g.worker(), step))
	}
	check(t, e.Deliver(g.session, all))
}

func count(n int) (steps []int) {
	for i := range n {
		steps = append(steps, i+1)
	}
	return steps
}

// TestFaultyBroker: appends that fail, are stored all the same, come twice or late, or are never answered, change nothing:
// everything comes once and in order, also when two gateways share a partition.
func TestFaultyBroker(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	gates := []gate{
		openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 1000), openGate(t, start(t, b, w, 3, gatewayRole, false), 30, 1000),
	}
	v := follow(t, scheduler)
	v.ready(t, scheduler, gates...)
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a schedule, not a secret
	b.SetFaults(memory.BrokerFaults{Append: func(topic brokerlog.Topic, _ events.Partition, _ []byte) memory.AppendFault {
		mu.Lock()
		defer mu.Unlock()
		if topic != brokerlog.Inbox || r.IntN(3) > 0 {
			return memory.AppendStored
		}
		return []memory.AppendFault{
			memory.AppendFailed, memory.AppendStoredFailed, memory.AppendStoredUntold, memory.AppendLate, memory.AppendTwice,
		}[r.IntN(5)]
	}})
	const each = 60
	ctx := within(t)
	var all sync.WaitGroup
	for _, g := range gates {
		all.Go(func() {
			for n := range each {
				if err := scheduler.Deliver(g.session, []inbox.Delivery{task(g.worker(), n+1)}); err != nil {
					t.Errorf("delivery %d to session %d: %v; %+v %+v %+v", n+1, g.session, err, scheduler.Stats(), gates[0].Stats(), gates[1].Stats())
					return
				}
				if got, err := g.takes(ctx, 1); err != nil || got[0] != n+1 {
					t.Errorf("session %d: task %v came where %d was due: %v", g.session, got, n+1, err)
					return
				}
				if err := g.Report(inbox.Report{Session: g.session, Credits: []inbox.Credit{{Worker: g.worker(), Tasks: 1}}}); err != nil {
					t.Error(err)
				}
				b.Arrive(1)
			}
		})
	}
	all.Wait()
	for _, g := range gates {
		v.knows(t, g, 1000+each)
		if v.n[g.session] != 0 {
			t.Errorf("session %d was said to be gone %d times", g.session, v.n[g.session])
		}
		if stats := g.Stats(); stats.Void != 0 || stats.Missed > 2 {
			t.Errorf("session %d: %+v", g.session, stats)
		}
	}
	if stats := scheduler.Stats(); stats.Again == 0 || stats.Repeated == 0 {
		t.Errorf("the broker was not faulty: %+v", stats)
	}
}

// TestGatewayCutOff: a gateway that is slow is taken to be gone; what it was given is given to others. When it is back it
// says all anew, with what it has.
func TestGatewayCutOff(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g)
	v.deliver(t, scheduler, g, 1, 2)
	g.take(t, 2)

	g.link.Cut()
	v.deliver(t, scheduler, g, 3) // will be on its way
	check(t, g.Report(inbox.Report{Session: 20, Running: []inbox.Running{{Worker: g.worker(), RunID: events.RunID{1}, Step: 1, Attempt: 1}}}))
	w.set(2, "")
	v.until(t, "session 20 is gone", func() bool { return v.n[20] == 1 })
	if err := scheduler.Deliver(20, []inbox.Delivery{task(g.worker(), 4)}); !errors.Is(err, inbox.ErrGone) {
		t.Fatalf("Deliver to a session whose process is silent: %v", err)
	}
	g.link.Heal()
	w.set(2, gatewayRole)
	v.until(t, "session 20 is back", func() bool { return v.all[20].Joined != nil })
	if got := v.running(20); !slices.Equal(got, []int{1, 2, 3}) || v.all[20].Credits[0].Tasks != 2 || v.n[20] != 1 {
		t.Errorf("back it has %v, and %d places", got, v.all[20].Credits[0].Tasks)
	}
	if got := g.take(t, 1); got[0] != 3 {
		t.Errorf("task %d came, want 3", got[0])
	}
	v.deliver(t, scheduler, g, 4)
	if got := g.take(t, 1); got[0] != 4 {
		t.Errorf("task %d came, want 4", got[0])
	}
}

// TestGatewayMissesDeliveries: a gateway that cannot read what was delivered says its state anew, and what is not in it is
// given away again.
func TestGatewayMissesDeliveries(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g)
	v.deliver(t, scheduler, g, 1)
	g.take(t, 1)
	s := settled{t, g.end, scheduler}
	s.settle()
	g.link.Cut()
	before := scheduler.Stats().Read
	v.deliver(t, scheduler, g, 2, 3)
	awaitRead(t, scheduler, before+1)
	end, err := scheduler.link.End(t.Context(), brokerlog.Inbox, 0)
	check(t, err)
	b.Forget(brokerlog.Inbox, 0, end)
	g.link.Heal()
	v.until(t, "session 20 begins anew", func() bool { return v.n[20] == 1 && v.all[20].Joined != nil })
	if got := v.running(20); !slices.Equal(got, []int{1}) || v.all[20].Credits[0].Tasks != 4 {
		t.Errorf("it has %v, and %d places", got, v.all[20].Credits[0].Tasks)
	}
	v.deliver(t, scheduler, g, 2, 3)
	if got := g.take(t, 2); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("%v came", got)
	}
}

// awaitRead waits until a process has read so many messages.
func awaitRead(t *testing.T, e end, messages uint64) {
	t.Helper()
	for ctx := within(t); ; {
		_, read := e.Settled(ctx)
		if e.Stats().Read >= messages {
			return
		}
		select {
		case <-read:
		case <-ctx.Done():
			t.Fatalf("%d messages were read, want %d", e.Stats().Read, messages)
		}
	}
}

// TestSchedulerCutOff: what is delivered and reported meanwhile comes when the link is whole.
func TestSchedulerCutOff(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 50)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g)
	scheduler.link.Cut()
	v.deliver(t, scheduler, g, count(30)...)
	for range 10 {
		check(t, g.Report(inbox.Report{Session: 20, Credits: []inbox.Credit{{Worker: g.worker(), Tasks: 1}}}))
	}
	scheduler.link.Heal()
	if got := g.take(t, 30); !slices.Equal(got, count(30)) {
		t.Errorf("%v came", got)
	}
	v.knows(t, g, 60)
	if v.n[20] != 0 {
		t.Error("the session was said to be gone")
	}
}

// TestSchedulerMissesReports: who cannot read reports asks for the present state.
func TestSchedulerMissesReports(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	gateway := start(t, b, w, 2, gatewayRole, false)
	g := openGate(t, gateway, 20, 5)
	closes := openGate(t, gateway, 21, 1)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g, closes)
	v.deliver(t, scheduler, g, 1)
	g.take(t, 1)
	settled{t, g.end, scheduler}.settle()
	scheduler.link.Cut()
	before := g.Stats().Read
	check(t, g.Report(inbox.Report{Session: 20, Credits: []inbox.Credit{{Worker: g.worker(), Tasks: 10}}}))
	closes.mailbox.Close()
	awaitRead(t, g.end, before+1)
	end, err := g.link.End(t.Context(), brokerlog.Inbox, 0)
	check(t, err)
	b.Forget(brokerlog.Inbox, 0, end)
	scheduler.link.Heal()
	v.knows(t, g, 14)
	v.until(t, "the closed session is gone", func() bool { return v.n[21] == 1 })
	if got := v.running(20); !slices.Equal(got, []int{1}) || v.n[20] != 1 {
		t.Errorf("it has %v after it was gone %d times", got, v.n[20])
	}
}

// TestBrokerLosesTail: what the broker has confirmed and lost is noticed by whoever had read it.
func TestBrokerLosesTail(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g)
	g.link.Cut()
	before := scheduler.Stats().Read
	v.deliver(t, scheduler, g, 1, 2)
	awaitRead(t, scheduler, before+1)
	b.LoseTail(brokerlog.Inbox, 0, 1)
	g.link.Heal()
	v.until(t, "session 20 begins anew", func() bool { return v.n[20] == 1 && v.all[20].Joined != nil })
	v.knows(t, g, 5)
	v.deliver(t, scheduler, g, 1, 2)
	if got := g.take(t, 2); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("%v came", got)
	}
}

// TestNewScheduler: the next scheduler knows what the one before it gave, and what that one had on its way is void.
func TestNewScheduler(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 2}), newTown()
	first := start(t, b, w, 1, "scheduler", true)
	gates := []gate{openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5), openGate(t, start(t, b, w, 3, gatewayRole, false), 30, 5)}
	v := follow(t, first)
	v.ready(t, first, gates...)
	for _, g := range gates {
		v.deliver(t, first, g, int(g.session)+1)
		g.take(t, 1)
	}
	seen := make(chan events.SessionID, 1000)
	b.SetFaults(memory.BrokerFaults{Append: func(_ brokerlog.Topic, _ events.Partition, body []byte) memory.AppendFault {
		for _, g := range gates {
			if bytes.Contains(body, []byte(g.worker())) {
				seen <- g.session
			}
		}
		return memory.AppendLate
	}})
	for _, g := range gates {
		v.deliver(t, first, g, int(g.session)+2)
	}
	for late := map[events.SessionID]bool{}; len(late) < len(gates); {
		late[<-seen] = true
	}
	first.link.Kill()
	b.SetFaults(memory.BrokerFaults{})
	w.set(1, "")

	second := start(t, b, w, 4, "scheduler", true)
	v2 := follow(t, second)
	v2.ready(t, second, gates...)
	for _, g := range gates {
		v2.knows(t, g, 4)
		if got := v2.running(g.session); !slices.Equal(got, []int{int(g.session) + 1}) {
			t.Errorf("session %d has %v", g.session, got)
		}
	}
	before := gates[0].Stats().Void + gates[1].Stats().Void
	b.Arrive(100)
	for _, g := range gates {
		v2.deliver(t, second, g, int(g.session)+3)
		if got := g.take(t, 1); got[0] != int(g.session)+3 {
			t.Errorf("session %d: task %d came", g.session, got[0])
		}
	}
	if void := gates[0].Stats().Void + gates[1].Stats().Void - before; void == 0 {
		t.Error("what the first one delivered late is not void")
	}
}

// TestDeadGateway: its process is silent, so it is gone; and a following that begins waits for the others only.
func TestDeadGateway(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 2}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	dies, stays := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5), openGate(t, start(t, b, w, 3, gatewayRole, false), 30, 5)
	v := follow(t, scheduler)
	v.ready(t, scheduler, dies, stays)
	dies.link.Kill()
	w.set(2, "")
	v.until(t, "session 20 is gone", func() bool { return v.n[20] == 1 })
	if err := scheduler.Deliver(20, []inbox.Delivery{task("w", 4)}); !errors.Is(err, inbox.ErrGone) {
		t.Fatalf("Deliver to a dead gateway: %v", err)
	}
	if again := follow(t, scheduler); len(again.Take(10)) != 1 {
		t.Error("a new follower hears of another number of sessions than 1")
	}
	v.knows(t, stays, 5)
}

// TestFollowingWaitsForGateways: a scheduler that begins does not give away what a gateway holds that has not told yet.
func TestFollowingWaitsForGateways(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 2}), newTown()
	gateway := start(t, b, w, 2, gatewayRole, false)
	scheduler := start(t, b, w, 1, "scheduler", true)
	returned := make(chan inbox.Reports, 1)
	go func() {
		r, err := scheduler.Reports(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Error(err)
		}
		returned <- r
	}()
	settled{t, gateway, scheduler}.settle()
	select {
	case <-returned:
		t.Fatal("the following began before a gateway had told")
	default:
	}
	openGate(t, gateway, 20, 5)
	r := <-returned
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	w.set(9, gatewayRole) // hangs
	cancel()
	if _, err := scheduler.Reports(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Reports, given up: %v", err)
	}
}

// TestCloseSaysGoodbye: the sessions of a process that ends are gone at once.
func TestCloseSaysGoodbye(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 2}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5)
	v := follow(t, scheduler)
	v.ready(t, scheduler, g)
	g.Close()
	v.until(t, "session 20 is gone", func() bool { return v.n[20] == 1 })
	if _, err := g.Open(t.Context(), 21); !errors.Is(err, brokerlog.ErrClosed) {
		t.Errorf("Open of a closed inbox: %v", err)
	}
	if err := g.Deliver(20, nil); !errors.Is(err, inbox.ErrGone) {
		t.Errorf("Deliver of a closed inbox: %v", err)
	}
	if g.mailbox.Take(1) != nil {
		t.Error("a closed inbox has deliveries")
	}
}

// TestTopicIsForgotten: old messages do not stay in the log.
func TestTopicIsForgotten(t *testing.T) {
	t.Parallel()
	b, w := memory.NewBroker(memory.BrokerOptions{Partitions: 1}), newTown()
	scheduler := start(t, b, w, 1, "scheduler", true)
	g := openGate(t, start(t, b, w, 2, gatewayRole, false), 20, 5)
	v := follow(t, scheduler)
	v.knows(t, g, 5)
	ctx := within(t)
	for n := 5; ; n++ {
		check(t, g.Report(inbox.Report{Session: 20, Credits: []inbox.Credit{{Worker: g.worker(), Tasks: 1}}}))
		v.knows(t, g, n+1)
		r, err := scheduler.link.Read(ctx, brokerlog.Inbox, 0, fold.Position{})
		if errors.Is(err, brokerlog.ErrTrimmed) {
			break
		}
		check(t, err)
		r.Close()
	}
}

// TestOverMembership: with a real membership, a process that dies is gone soon.
func TestOverMembership(t *testing.T) {
	t.Parallel()
	b := memory.NewBroker(memory.BrokerOptions{Partitions: 2})
	join := func(role string, delivers bool) end {
		link := b.Connect()
		m, err := membership.Join(t.Context(), membership.Options{
			Log: link, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Role: role, Name: role, Every: 20 * time.Millisecond,
		})
		check(t, err)
		i, err := brokerinbox.New(t.Context(), brokerinbox.Options{
			Log: link, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), Members: m, Delivers: delivers,
		})
		check(t, err)
		t.Cleanup(func() {
			i.Close()
			m.Leave()
			_ = link.Close()
		})
		return end{i, link, m.Self()}
	}
	a, c := openGate(t, join(gatewayRole, false), 20, 5), openGate(t, join(gatewayRole, false), 30, 5)
	scheduler := join("scheduler", true)
	v := follow(t, scheduler)
	v.ready(t, scheduler, a, c)
	v.deliver(t, scheduler, a, 1)
	a.take(t, 1)
	a.link.Kill()
	v.until(t, "session 20 is gone", func() bool { return v.n[20] == 1 })
	v.deliver(t, scheduler, c, 1)
	if got := c.take(t, 1); got[0] != 1 || v.n[30] != 0 {
		t.Errorf("task %d came to the other gateway", got[0])
	}
}
