package post

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/book"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The law: schedulers that give away again what a session that is gone had, and count credits as reports say, get every task
// done, nothing is with two workers at once as long as nobody who is there is taken to be gone, and in the end schedulers
// and gateways count the same free places.

// world is a broker with one partition or more, and the processes that use it.
type world struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	logs []plainLog
	late []lateOne

	processes  []*process
	lives      uint64
	tasks      []events.Step // of one run, to be done
	done       map[events.Step]bool
	holders    map[events.Step]int
	exact      bool // nobody was taken to be gone who is there
	calm       bool // no faults any more
	taken, twi int
}

type plainLog struct {
	messages []logged
	last     uint64
}

type logged struct {
	at   uint64
	body []byte
}

type lateOne struct {
	partition int
	body      []byte
}

// process is a core and what uses it: a gateway, a scheduler, or both.
type process struct {
	w      *world
	number uint64
	core   *Core
	at     []uint64 // read, per partition
	failed []bool   // an append failed, and the core was not told yet
	try    []uint64
	dead   bool
	mute   bool // says nothing, as others see it

	gateway   *gateway
	scheduler *scheduler
}

type gateway struct {
	session events.SessionID
	workers map[events.WorkerID]*hand
}

type hand struct {
	id    events.WorkerID
	free  int
	holds []inbox.Delivery
	told  map[events.Step]bool
}

type scheduler struct {
	follower *Follower
	credit   map[events.WorkerID]int
	at       map[events.WorkerID]events.SessionID
	held     map[events.Step]events.SessionID
	ready    bool
}

func (w *world) join(number uint64, delivers bool) *process {
	w.lives++
	p := &process{
		w: w, number: number, at: make([]uint64, len(w.logs)), failed: make([]bool, len(w.logs)), try: make([]uint64, len(w.logs)),
		core: New(Config{Life: w.lives, Process: number, Partitions: len(w.logs), Delivers: delivers, Silence: 4}),
	}
	for n := range w.logs {
		p.at[n] = w.logs[n].last
	}
	p.core.Begin()
	if delivers {
		p.scheduler = &scheduler{
			follower: p.core.Follow(), credit: map[events.WorkerID]int{}, at: map[events.WorkerID]events.SessionID{}, held: map[events.Step]events.SessionID{},
		}
	}
	w.processes = append(w.processes, p)
	return p
}

func (w *world) addGateway(session events.SessionID) *process {
	p := w.join(uint64(session), false)
	p.gateway = &gateway{session: session, workers: map[events.WorkerID]*hand{}}
	w.check(p.core.Open(session))
	for n := range 1 + w.r.IntN(2) {
		h := &hand{id: events.WorkerID(fmt.Sprintf("w%d/%d", session, n)), free: 1 + w.r.IntN(4), told: map[events.Step]bool{}}
		p.gateway.workers[h.id] = h
		p.report(inbox.Report{
			Joined:  []inbox.Worker{{Session: session, ID: h.id, Queue: "q", TaskSlots: h.free}},
			Credits: []inbox.Credit{{Worker: h.id, Tasks: h.free}},
		})
	}
	return p
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (p *process) report(r inbox.Report) {
	r.Session = p.gateway.session
	p.w.check(p.core.Report(r))
}

func (w *world) store(partition int, body []byte) {
	l := &w.logs[partition]
	l.last++
	l.messages = append(l.messages, logged{l.last, body})
}

// send appends one message of a process, with whatever comes of it.
func (p *process) send(partition int) bool {
	if p.failed[partition] && (p.w.calm || p.w.r.IntN(2) == 0) {
		p.failed[partition] = false
		p.core.Failed(events.Partition(partition), p.try[partition])
	}
	body, try := p.core.Next(events.Partition(partition))
	if body == nil {
		return false
	}
	fate := p.w.r.IntN(20)
	if p.w.calm {
		fate = 20
	}
	fails := func() { p.failed[partition], p.try[partition] = true, try }
	switch fate {
	case 0:
		fails()
	case 1:
		p.w.store(partition, body)
		fails()
	case 2:
		p.w.late = append(p.w.late, lateOne{partition, body})
		fails()
	case 3:
		p.w.store(partition, body)
		p.w.store(partition, body)
	default:
		p.w.store(partition, body)
	}
	return true
}

// read reads the next message of a partition, or begins again at its end.
func (p *process) read(partition int) bool {
	l := &p.w.logs[partition]
	i, _ := slices.BinarySearchFunc(l.messages, p.at[partition]+1, func(m logged, at uint64) int { return int(int64(m.at) - int64(at)) })
	first := l.last + 1
	if len(l.messages) > 0 {
		first = l.messages[0].at
	}
	switch {
	case p.at[partition]+1 < first || p.at[partition] > l.last: // trimmed, or cut off
		p.at[partition] = l.last
		p.core.Lost(events.Partition(partition))
		return true
	case i == len(l.messages):
		return false
	}
	p.at[partition] = l.messages[i].at
	p.core.Read(events.Partition(partition), l.messages[i].body)
	return true
}

func (w *world) holding(step events.Step, by int) {
	w.holders[step] += by
	if w.holders[step] > 1 {
		w.twi++
		if w.exact {
			panic(fmt.Sprintf("seed %d: task %d is with two workers", w.seed, step))
		}
	}
}

// take lets a gateway take what came, and give some back.
func (p *process) take() bool {
	mail := p.core.TakeMail(p.gateway.session, 1+p.w.r.IntN(4))
	for _, d := range mail {
		p.w.taken++
		h, step := p.gateway.workers[d.Worker], d.Task.Task.Step
		switch {
		case slices.ContainsFunc(h.holds, func(o inbox.Delivery) bool { return o.Task.Task.Step == step }):
			if p.w.exact {
				panic(fmt.Sprintf("seed %d: task %d came twice to %s", p.w.seed, step, h.id))
			}
		case h.free == 0:
			if p.w.exact {
				panic(fmt.Sprintf("seed %d: worker %s is given more than it granted", p.w.seed, h.id))
			}
			p.report(inbox.Report{Returned: []inbox.Running{book.RunningOf(&d)}})
		case p.w.done[step]:
			p.report(inbox.Report{Credits: []inbox.Credit{{Worker: h.id, Tasks: 1}}})
		case !p.w.calm && p.w.r.IntN(8) == 0:
			p.report(inbox.Report{Returned: []inbox.Running{book.RunningOf(&d)}, Credits: []inbox.Credit{{Worker: h.id, Tasks: 1}}})
		default:
			p.w.holding(step, 1)
			h.free--
			h.holds = append(h.holds, d)
			if p.w.r.IntN(3) == 0 {
				h.told[step] = true
				p.report(inbox.Report{Running: []inbox.Running{book.RunningOf(&d)}})
			}
		}
	}
	return mail != nil
}

// work lets a worker finish a task.
func (p *process) work() bool {
	for _, id := range slices.Sorted(func(yield func(events.WorkerID) bool) {
		for id := range p.gateway.workers {
			if !yield(id) {
				return
			}
		}
	}) {
		h := p.gateway.workers[id]
		if len(h.holds) == 0 || !p.w.calm && p.w.r.IntN(2) == 0 {
			continue
		}
		d := h.holds[0]
		h.holds = h.holds[1:]
		step := d.Task.Task.Step
		p.w.done[step] = true
		p.w.holding(step, -1)
		h.free++
		r := inbox.Report{Credits: []inbox.Credit{{Worker: id, Tasks: 1}}}
		if h.told[step] {
			delete(h.told, step)
			r.Over = []inbox.Running{book.RunningOf(&d)}
		}
		p.report(r)
		return true
	}
	return false
}

// match is the part of a scheduler that matters here.
func (p *process) match() bool {
	s := p.scheduler
	reports := s.follower.Take(2 + p.w.r.IntN(5))
	for _, r := range reports {
		s.apply(r)
	}
	if !s.ready && s.follower.Waiting() == 0 {
		var gateways []uint64
		for _, g := range p.w.gateways() {
			gateways = append(gateways, g.number)
		}
		s.ready = p.core.Complete(gateways)
	}
	if !s.ready || s.follower.Waiting() > 0 && p.w.r.IntN(2) == 0 {
		return reports != nil
	}
	var out []inbox.Delivery
	var to events.SessionID
	for _, step := range p.w.tasks {
		if p.w.done[step] || s.held[step] != 0 {
			continue
		}
		for _, id := range slices.Sorted(func(yield func(events.WorkerID) bool) {
			for id := range s.credit {
				if !yield(id) {
					return
				}
			}
		}) {
			if s.credit[id] <= 0 || to != 0 && to != s.at[id] {
				continue
			}
			to = s.at[id]
			s.credit[id]--
			s.held[step] = to
			out = append(out, inbox.Delivery{Worker: id, Number: 1, Task: &events.OpenTask{Task: events.TaskID{Run: events.RunID{1}, Step: step}, Attempt: 1}})
			break
		}
	}
	if len(out) == 0 {
		return reports != nil
	}
	// What a session that is gone does not take stays its own until it is reported to be gone.
	if err := p.core.Deliver(to, out); err != nil && !errors.Is(err, inbox.ErrGone) {
		p.w.t.Fatal(err)
	}
	return true
}

func (s *scheduler) apply(r inbox.Report) {
	if r.Gone {
		for step, at := range s.held {
			if at == r.Session {
				delete(s.held, step)
			}
		}
		for id, at := range s.at {
			if at == r.Session {
				delete(s.at, id)
				delete(s.credit, id)
			}
		}
		return
	}
	for _, j := range r.Joined {
		if s.at[j.ID] != r.Session {
			s.credit[j.ID] = 0
		}
		s.at[j.ID] = r.Session
	}
	for _, n := range r.Running {
		s.held[n.Step] = r.Session
	}
	for _, c := range r.Credits {
		s.credit[c.Worker] += c.Tasks
	}
	for _, n := range r.Returned {
		if s.held[n.Step] == r.Session {
			delete(s.held, n.Step)
		}
	}
}

// present tells a process who is there.
func (p *process) present(count uint64) {
	p.core.Present(count, func(number uint64) bool {
		return slices.ContainsFunc(p.w.processes, func(o *process) bool { return o.number == number && !o.dead && !o.mute })
	})
}

// kill ends a process; what its workers held is nobody's.
func (w *world) kill(p *process) {
	p.dead = true
	if p.gateway != nil {
		for _, h := range p.gateway.workers {
			for _, d := range h.holds {
				w.holders[d.Task.Task.Step]--
			}
		}
	}
	w.processes = slices.DeleteFunc(w.processes, func(o *process) bool { return o == p })
}

func (w *world) gateways() (all []*process) {
	for _, p := range w.processes {
		if p.gateway != nil {
			all = append(all, p)
		}
	}
	return all
}

// step lets something happen and reports whether anything did.
func (w *world) step(p *process) bool {
	partition := w.r.IntN(len(w.logs))
	switch w.r.IntN(5) {
	case 0:
		return p.send(partition)
	case 1, 2:
		return p.read(partition)
	case 3:
		return p.gateway != nil && p.take() || p.scheduler != nil && p.match()
	default:
		return p.gateway != nil && p.work() || p.scheduler != nil && p.match()
	}
}

// fault does something that seldom happens. Each number stands for a kind.
func (w *world) fault(kind int, count *uint64) {
	pick := func() *process { return w.processes[w.r.IntN(len(w.processes))] }
	partition := w.r.IntN(len(w.logs))
	l := &w.logs[partition]
	switch kind {
	case 0: // what was late arrives
		for _, one := range w.late {
			w.store(one.partition, one.body)
		}
		w.late = nil
	case 1: // the log is trimmed, whoever has not read it
		l.messages = slices.Clone(l.messages[min(len(l.messages), w.r.IntN(40)):])
	case 2: // somebody reads on at the end
		p := pick()
		p.at[partition] = l.last
		p.core.Lost(events.Partition(partition))
	case 3: // the scheduler is made anew
		for _, p := range slices.Clone(w.processes) {
			if p.scheduler != nil {
				w.kill(p)
			}
		}
		*count += 4
		w.join(1000+w.lives, true)
	case 4: // a gateway dies and another one comes
		all := w.gateways()
		w.kill(all[w.r.IntN(len(all))])
		w.addGateway(events.SessionID(100 + w.lives))
	case 5: // one that is there falls silent, and comes back
		p := pick()
		p.mute = !p.mute
		w.exact = false
	case 6: // the followers of another process want the state
		w.join(2000+w.lives, false)
		w.kill(w.processes[len(w.processes)-1])
	case 7: // a message is in the log that nobody wrote
		w.store(partition, []byte{version, 1, 2, 3})
	case 8: // somebody follows anew within the process
		for _, p := range w.processes {
			if s := p.scheduler; s != nil {
				s.follower.End()
				s.follower, s.credit, s.at = p.core.Follow(), map[events.WorkerID]int{}, map[events.WorkerID]events.SessionID{}
				s.held, s.ready = map[events.Step]events.SessionID{}, false
			}
		}
	case 9: // the broker loses the end of the log, and its numbers are used again
		lost := min(len(l.messages), w.r.IntN(6))
		l.messages = l.messages[:len(l.messages)-lost]
		l.last -= uint64(lost)
		for _, p := range w.processes { // as the port says it: whoever has read more cannot go on
			if p.at[partition] > l.last {
				p.at[partition] = l.last
				p.core.Lost(events.Partition(partition))
			}
		}
	}
}

const faults = 10

var seedCount = flag.Int("seeds", 300, "schedules of TestLaw")

func run(t *testing.T, seed uint64) *world {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a schedule, not a secret
	w := &world{t: t, seed: seed, r: r, logs: make([]plainLog, 1+r.IntN(2)), done: map[events.Step]bool{}, holders: map[events.Step]int{}, exact: true}
	for n := range 60 {
		w.tasks = append(w.tasks, events.Step(n+1))
	}
	w.join(1, true)
	w.addGateway(10)
	w.addGateway(20)
	var count uint64 = 10
	enabled := 1 + r.IntN(1<<faults-1)
	for range 1500 {
		w.step(w.processes[r.IntN(len(w.processes))])
		if r.IntN(50) == 0 {
			if kind := r.IntN(faults); enabled&(1<<kind) != 0 {
				w.fault(kind, &count)
			}
		}
		if r.IntN(20) == 0 {
			count++
			for _, p := range w.processes {
				p.present(count)
			}
		}
	}
	w.settle(count)
	return w
}

// settle ends all faults and goes on until nothing happens any more, though presence goes on and a shell has sent again what
// did not come back for long.
func (w *world) settle(count uint64) {
	w.calm = true
	for _, p := range w.processes {
		p.mute = false
	}
	for quiet := 0; quiet < 3; quiet++ {
		for busy := true; busy; {
			busy = false
			for _, p := range w.processes {
				busy = p.all() || busy
			}
			if busy {
				quiet = 0
			}
		}
		count += 4
		for _, p := range w.processes {
			p.present(count)
			for n := range p.at {
				if _, waits := p.core.Waits(events.Partition(n)); waits {
					p.core.Failed(events.Partition(n), p.core.Try(events.Partition(n)))
				}
			}
		}
	}
}

// all does whatever a process can do.
func (p *process) all() (busy bool) {
	for n := range p.at {
		for p.send(n) {
			busy = true
		}
		for p.read(n) {
			busy = true
		}
	}
	if p.gateway != nil {
		busy = p.take() || busy
		busy = p.work() || busy
	}
	return p.scheduler != nil && p.match() || busy
}

func TestLaw(t *testing.T) {
	t.Parallel()
	seeds := *seedCount
	var again, missed, void, states, silent uint64
	exact := 0
	for seed := range seeds {
		w := run(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		for _, step := range w.tasks {
			if !w.done[step] {
				t.Fatalf("seed %d: task %d is not done", seed, step)
			}
		}
		free := map[events.WorkerID]int{}
		for _, g := range w.gateways() {
			for id, h := range g.gateway.workers {
				free[id] = h.free
			}
		}
		for _, p := range w.processes {
			stats := p.core.Stats()
			again, missed, void, states, silent = again+stats.Again, missed+stats.Missed, void+stats.Void, states+stats.States, silent+stats.Silent
			if p.scheduler == nil {
				continue
			}
			if fmt.Sprint(p.scheduler.credit) != fmt.Sprint(free) {
				t.Fatalf("seed %d: the scheduler counts %v free places, and the gateways %v", seed, p.scheduler.credit, free)
			}
		}
		if w.exact {
			exact++
		}
	}
	t.Logf("%d seeds, %d of them exact; sent again %d times, missed %d, void %d, states %d, silent %d", seeds, exact, again, missed, void, states, silent)
	if again == 0 || missed == 0 || void == 0 || silent == 0 || exact == 0 || exact == seeds {
		t.Error("the schedules show nothing")
	}
}
