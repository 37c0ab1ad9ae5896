package matcher

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

// world is what an observer of the matcher knows by itself.
type world struct {
	m       *Matcher
	now     events.Time
	open    map[ID]*seen
	workers map[events.WorkerID]*hand
	seq     events.Seq
	// sessions are those that had a worker and are not gone.
	sessions map[events.SessionID]bool
	begun    map[events.RunID]bool // that had an activation
}

// seen is an open item as the observer knows it.
type seen struct {
	item    Item
	session events.SessionID // that holds it; 0 while it waits
	worker  events.WorkerID
	indexed bool        // let go to the index
	until   events.Time // a session has the first choice of it; 0 when none has
}

// offer begins the first choice that the session an item is offered to has, if that session is there.
func (w *world) offer(s *seen) {
	to, until := s.item.offer()
	if s.until = 0; w.sessions[to] {
		s.until = until
	}
}

type hand struct {
	session events.SessionID
	tasks   int // free
	acts    int
	queue   events.TaskQueue
	offers  map[string]bool
}

func (w *world) item(t *rapid.T) Item {
	w.seq++
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	queue := events.TaskQueue(rapid.SampledFrom([]string{"q", "r"}).Draw(t, "queue"))
	attempt := events.Attempt(rapid.IntRange(1, 2).Draw(t, "attempt"))
	notBefore := events.Time(0)
	if attempt > 1 {
		notBefore = w.now.Add(time.Duration(rapid.IntRange(-50, 200).Draw(t, "back-off")) * time.Millisecond)
	}
	run := runID(rapid.IntRange(1, 12).Draw(t, "run"))
	item := Item{From: w.seq, Opened: w.now}
	offerTo, until := events.SessionID(0), events.Time(0)
	if attempt == 1 && rapid.Bool().Draw(t, "offered") {
		offerTo, until = events.SessionID(rapid.IntRange(1, 3).Draw(t, "to")), w.now.Add(100*time.Millisecond)
	}
	if rapid.Bool().Draw(t, "is task") {
		item.Task = &events.OpenTask{Task: events.TaskID{Run: run, Step: 1}, Attempt: attempt, Name: events.TaskName(name), Queue: queue, NotBefore: notBefore, OfferTo: offerTo, OfferUntil: until}
		return item
	}
	number := uint64(w.seq)
	if !w.begun[run] {
		number, w.begun[run] = 1, true
	}
	item.Activation = &events.OpenActivation{RunID: run, Activation: events.ActivationScheduled{
		Activation: number, Attempt: attempt, Type: events.WorkflowType(name), Queue: queue, NotBefore: notBefore,
		FailedBuild: events.BuildID(rapid.SampledFrom([]string{"", "one"}).Draw(t, "failed")), OfferTo: offerTo, OfferUntil: until,
	}}
	return item
}

// match lets the matcher work and holds it to its promises.
func (w *world) match(t *rapid.T) {
	for _, d := range w.m.Match(w.now, nil) {
		id := d.Item.ID()
		known := w.open[id]
		if known == nil || known.indexed {
			t.Fatalf("%v was delivered although it is not open in memory", id)
		}
		if known.session != 0 {
			t.Fatalf("%v was delivered to %s while %s has it", id, d.Worker, known.worker)
		}
		if known.item.From != d.Item.From {
			t.Fatalf("%v: an older attempt was delivered", id)
		}
		to := w.workers[d.Worker]
		if to == nil || to.session != d.Session || to.queue != d.Item.queue() || !to.offers[d.Item.name()] {
			t.Fatalf("%v was delivered to %s/%d, which does not offer it", id, d.Worker, d.Session)
		}
		free := &to.tasks
		if d.Item.Kind() == Activation {
			free = &to.acts
		}
		if *free--; *free < 0 {
			t.Fatalf("%s got more than its credits", d.Worker)
		}
		if d.Item.Kind() == Task && d.Item.Start() > w.now {
			t.Fatalf("%v was delivered before its time", id)
		}
		if known.until > w.now {
			t.Fatalf("%v was delivered while a session has the first choice of it", id)
		}
		known.session, known.worker = d.Session, d.Worker
	}
	waiting := 0
	for id, known := range w.open {
		if known.indexed {
			continue
		}
		waiting++
		if known.session != 0 || known.item.Start() > w.now || known.until > w.now {
			continue
		}
		for name, h := range w.workers {
			free := h.tasks
			if known.item.Kind() == Activation {
				free = h.acts
				if at, ok := w.m.Next(); ok && at <= w.now.Add(time.Second) {
					continue // it may wait for the worker where its run is live
				}
			}
			if free > 0 && h.queue == known.item.queue() && h.offers[known.item.name()] {
				t.Fatalf("%v waits although %s has credit", id, name)
			}
		}
	}
	count := 0
	for _, l := range w.m.Lanes() {
		count += l.Waiting + l.Later + l.Held
	}
	if spilled := w.spilled(); count != waiting+spilled {
		t.Fatalf("the matcher counts %d (%d of them in the index), %d are open in memory: %+v", count, spilled, waiting, w.m.Lanes())
	}
}

func (w *world) spilled() int {
	n := 0
	for _, g := range w.m.groups {
		for _, l := range g.lanes {
			n += l.spilled
		}
	}
	return n
}

func (w *world) lose(session events.SessionID) {
	for id, h := range w.workers {
		if h.session == session {
			delete(w.workers, id)
		}
	}
	for _, known := range w.open {
		if known.session == session {
			known.session, known.worker = 0, ""
		}
	}
}

func TestNothingIsGivenTwiceAndNothingIsForgotten(t *testing.T) {
	t.Parallel()
	for i := range 20 { // each of rapid's usual 100 checks, which alone miss rare orders
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, givenOnce)
		})
	}
}

func givenOnce(t *rapid.T) {
	w := &world{
		m: New(Limits{Lane: 5, Total: 12, Floor: 3}), now: 1, open: map[ID]*seen{}, workers: map[events.WorkerID]*hand{},
		sessions: map[events.SessionID]bool{}, begun: map[events.RunID]bool{},
	}
	worker := rapid.SampledFrom([]events.WorkerID{"u", "v", "w"})
	session := rapid.SampledFrom([]events.SessionID{1, 2})
	anyOpen := func(t *rapid.T) (ID, *seen) {
		id := ID{Run: runID(rapid.IntRange(1, 12).Draw(t, "run")), Step: events.Step(rapid.IntRange(0, 1).Draw(t, "step"))}
		return id, w.open[id]
	}
	t.Repeat(map[string]func(*rapid.T){
		"open": func(t *rapid.T) {
			item := w.item(t)
			if w.m.Open(w.now, item) {
				t.Fatalf("%v is held although nobody said so", item.ID())
			}
			w.open[item.ID()] = &seen{item: item}
			w.offer(w.open[item.ID()])
		},
		"close": func(t *rapid.T) {
			id, known := anyOpen(t)
			if _, ok := w.m.Close(id); ok != (known != nil && !known.indexed) {
				t.Fatalf("Close(%v) = %v, open: %+v", id, ok, known)
			}
			delete(w.open, id)
		},
		"join": func(t *rapid.T) {
			h := &hand{session: session.Draw(t, "session"), queue: events.TaskQueue(rapid.SampledFrom([]string{"q", "r"}).Draw(t, "queue")), offers: map[string]bool{}}
			announced := Worker{Session: h.session, ID: worker.Draw(t, "worker"), Queue: h.queue, Build: events.BuildID(rapid.SampledFrom([]string{"one", "two"}).Draw(t, "build"))}
			for _, name := range []string{"a", "b", "c"} {
				if rapid.Bool().Draw(t, name) {
					h.offers[name] = true
					announced.Tasks = append(announced.Tasks, name)
					announced.Workflows = append(announced.Workflows, name)
				}
			}
			if old := w.workers[announced.ID]; old != nil && old.session == h.session && old.queue == h.queue {
				h.tasks, h.acts = old.tasks, old.acts
			}
			w.workers[announced.ID] = h
			w.m.Join(w.now, announced)
			w.sessions[h.session] = true
		},
		"leave": func(t *rapid.T) {
			id, from := worker.Draw(t, "worker"), session.Draw(t, "session")
			w.m.Leave(w.now, from, id)
			if h := w.workers[id]; h != nil && h.session == from {
				delete(w.workers, id)
			}
		},
		"gone": func(t *rapid.T) {
			id := session.Draw(t, "session")
			w.m.Gone(w.now, id)
			w.lose(id)
			delete(w.sessions, id)
		},
		"credit": func(t *rapid.T) {
			id := worker.Draw(t, "worker")
			h := w.workers[id]
			if h == nil {
				return
			}
			n := rapid.IntRange(-1, 3).Draw(t, "n")
			h.tasks, h.acts = h.tasks+n, h.acts+n
			w.m.Credit(h.session, id, n, n)
		},
		"return": func(t *rapid.T) {
			id, known := anyOpen(t)
			if known == nil || known.session == 0 {
				return
			}
			held := Held{Worker: known.worker, Run: id.Run, Step: id.Step, Attempt: known.item.Attempt(), Activation: known.item.activation()}
			if !w.m.Return(w.now, known.session, held) {
				t.Fatalf("%v is held by %s/%d and cannot be returned", id, known.worker, known.session)
			}
			known.session, known.worker = 0, ""
		},
		"running": func(t *rapid.T) {
			id, known := anyOpen(t)
			by := worker.Draw(t, "worker")
			h := w.workers[by]
			if known == nil || known.indexed || h == nil {
				return
			}
			held := Held{Worker: by, Run: id.Run, Step: id.Step, Attempt: known.item.Attempt(), Activation: known.item.activation()}
			if !w.m.Running(h.session, held) {
				t.Fatalf("%v is in memory and cannot be held", id)
			}
			known.session, known.worker, known.until = h.session, by, 0
		},
		"refuse": func(t *rapid.T) {
			id, known := anyOpen(t)
			if known == nil || known.indexed {
				return
			}
			from := session.Draw(t, "session")
			w.m.Refuse(w.now, from, Held{Run: id.Run, Step: id.Step, Attempt: known.item.Attempt(), Activation: known.item.activation()})
			if to, _ := known.item.offer(); to == from && w.sessions[from] {
				known.until = 0
			}
		},
		"live": func(t *rapid.T) {
			by := worker.Draw(t, "worker")
			if h := w.workers[by]; h != nil {
				w.m.Live(h.session, by, runID(rapid.IntRange(1, 12).Draw(t, "run")), rapid.Bool().Draw(t, "evicted"))
			}
		},
		"saved": func(t *rapid.T) {
			id, known := anyOpen(t)
			if gone := w.m.Saved(id, w.now.Add(100*time.Millisecond)); gone {
				if known == nil || known.session != 0 {
					t.Fatalf("%v was let go although it is held", id)
				}
				known.indexed = true
				if known.item.Start() > w.now.Add(100*time.Millisecond) {
					delete(w.open, id) // not due: its index row is looked for when it is
				}
			}
		},
		"sweep": func(t *rapid.T) {
			w.m.BeginSweep()
			for id, known := range w.open {
				if known.indexed {
					taken := w.m.Refills(rowOf(known.item))
					if taken && w.m.Add(w.now, known.item) {
						t.Fatalf("%v is held although nobody said so", id)
					}
					known.indexed = !taken
					w.offer(known)
				}
			}
			w.m.EndSweep()
			left := 0
			for _, known := range w.open {
				if known.indexed {
					left++
				}
			}
			if got := w.spilled(); got != left {
				t.Fatalf("after a sweep %d are counted in the index; %d are", got, left)
			}
		},
		"later": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "ms")) * time.Millisecond)
		},
		"": w.match,
	})
}

func TestNamesOfAQueueGetEqualTurns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := New(Limits{})
		names := rapid.IntRange(1, 6).Draw(t, "names")
		each := rapid.IntRange(1, 10).Draw(t, "each")
		var offers []string
		for n := range names {
			name := fmt.Sprint("n", n)
			offers = append(offers, name)
			// Every name has at least each to do; some have far more, and were first.
			for i := range each * rapid.IntRange(1, 20).Draw(t, "more") {
				m.Open(1, Item{Opened: 1, Task: &events.OpenTask{
					Task: events.TaskID{Run: runID(n), Step: events.Step(i + 1)}, Attempt: 1, Name: events.TaskName(name), Queue: "q",
				}})
			}
		}
		m.Join(1, Worker{Session: 1, ID: "w", Queue: "q", Tasks: offers})
		m.Credit(1, "w", each*names, 0)
		got := map[events.TaskName]int{}
		for _, d := range m.Match(1, nil) {
			got[d.Item.Task.Name]++
		}
		for name, n := range got {
			if n != each {
				t.Fatalf("%s got %d of %d turns: %v", name, n, each, got)
			}
		}
	})
}
