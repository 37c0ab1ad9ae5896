package sessions_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// engine is a partition as a gateway sees it: an owner takes commands in order, ignores numbers that it has handled before,
// and makes the rest durable; an ownership that ends loses what it has not made durable, and sometimes the news of what it
// has.
type engine struct {
	waiting []events.Envelope
	seen    map[uint64]bool
	applied map[events.RequestID]int
	log     []*events.Record
	read    int
}

func (e *engine) apply(env events.Envelope) {
	if e.seen[env.N] {
		return
	}
	e.seen[env.N] = true
	e.applied[env.RequestID]++
	e.log = append(e.log, &events.Record{
		Header:  events.Header{Seq: events.Seq(len(e.log) + 1), First: 1},
		Answers: []events.Answer{{Session: env.Session, N: env.N, Code: events.OK, RequestID: env.RequestID}},
	})
}

// Whatever is lost on the way, every command happens exactly once, and every call is answered once, after it happened.
func TestCommandsHappenOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		core := sessions.New(sessions.Config{Session: 7, Partitions: 1})
		e := &engine{applied: map[events.RequestID]int{}, seen: map[uint64]bool{}}
		replies := map[sessions.Call]int{}
		asked := sessions.Call(0)
		turn := func(in ...sessions.Input) {
			for _, out := range core.Turn(1, in) {
				switch out := out.(type) {
				case sessions.Send:
					e.waiting = append(e.waiting, out.Envelope)
				case sessions.Reply:
					replies[out.Call]++
					if id := out.Answer.RequestID; out.Err != nil || id != events.RequestID(fmt.Sprint(out.Call)) || e.applied[id] != 1 {
						t.Fatalf("call %d is answered with %+v, applied %d times", out.Call, out, e.applied[id])
					}
				default:
					t.Fatalf("unexpected %T", out)
				}
			}
		}
		ask := func() {
			asked++
			turn(sessions.Ask{Call: asked, Envelope: events.Envelope{
				Namespace: "default", WorkflowID: "w", RequestID: events.RequestID(fmt.Sprint(asked)), Command: events.GetRun{},
			}})
		}
		read := func() {
			if e.read < len(e.log) {
				e.read++
				turn(sessions.Recorded{Record: e.log[e.read-1]})
			}
		}
		commit := func(n int) {
			n = min(n, len(e.waiting))
			batch := e.waiting[:n:n]
			e.waiting = e.waiting[n:]
			var fates []sessions.Input
			for _, env := range batch {
				e.apply(env)
				fates = append(fates, sessions.SendResult{N: env.N, Fate: sessions.Kept})
			}
			turn(fates...)
		}
		lose := func(batch []events.Envelope, durable int, meanwhile bool) {
			// Some were durable, in the order of their runs and not of their numbers, but nobody heard; the rest is gone.
			e.waiting = nil
			for _, env := range batch[:min(durable, len(batch))] {
				e.apply(env)
			}
			for _, env := range batch {
				turn(sessions.SendResult{N: env.N, Fate: sessions.Lost})
				if meanwhile {
					ask() // while some fates are unknown
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask":    func(*rapid.T) { ask() },
			"read":   func(*rapid.T) { read() },
			"commit": func(t *rapid.T) { commit(rapid.IntRange(1, 4).Draw(t, "n")) },
			"lose": func(t *rapid.T) {
				if len(e.waiting) > 0 {
					lose(rapid.Permutation(e.waiting).Draw(t, "order"), rapid.IntRange(0, 3).Draw(t, "durable"), rapid.Bool().Draw(t, "meanwhile"))
				}
			},
		})
		for range 10 * (int(asked) + 1) {
			commit(len(e.waiting))
			read()
		}
		for call := sessions.Call(1); call <= asked; call++ {
			id := events.RequestID(fmt.Sprint(call))
			if replies[call] != 1 || e.applied[id] != 1 {
				t.Fatalf("call %d: %d replies, happened %d times", call, replies[call], e.applied[id])
			}
		}
		if s := core.Stats(); s.Unanswered != 0 || s.Calls != 0 {
			t.Fatalf("left over: %+v", s)
		}
	})
}

// schedulers count a worker's places as the reports say, and give work away within them.
type schedulers struct {
	credit map[events.WorkerID]int
	joined map[events.WorkerID]bool
}

// Whatever happens to workers and their streams: no attempt is with two workers, places neither leak nor multiply, and
// every attempt that was delivered is with a worker, reported, given back or timed out.
func TestWorkIsNeverLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		core := sessions.New(sessions.Config{Session: 7, Partitions: 1, Grace: 5 * time.Second})
		now := events.Time(1)
		s := schedulers{credit: map[events.WorkerID]int{}, joined: map[events.WorkerID]bool{}}
		type place struct {
			conn sessions.Conn
			up   bool
			has  map[sessions.Attempt]bool
		}
		workers := map[events.WorkerID]*place{"w1": {}, "w2": {}}
		conn := sessions.Conn(0)
		open := map[sessions.Attempt]bool{} // delivered and not settled
		told := map[sessions.Attempt]bool{} // the schedulers know who has it
		var pendingN []uint64
		step := events.Step(0)
		var turn func(in ...sessions.Input)
		var hands []sessions.Hand
		turn = func(in ...sessions.Input) {
			for _, out := range core.Turn(now, in) {
				switch out := out.(type) {
				case sessions.Hand:
					hands = append(hands, out)
				case sessions.Send:
					pendingN = append(pendingN, out.Envelope.N)
					switch c := out.Envelope.Command.(type) {
					case events.CompleteTask:
						delete(open, sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: out.Envelope.RunID, Step: c.Step}, Attempt: c.Attempt})
					case events.TimeoutTask:
						delete(open, sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: out.Envelope.RunID, Step: c.Step}, Attempt: c.Attempt})
					}
				case sessions.Report:
					for _, w := range out.Joined {
						if !s.joined[w.ID] {
							s.joined[w.ID], s.credit[w.ID] = true, 0
						}
					}
					for _, id := range out.Left {
						delete(s.joined, id)
						delete(s.credit, id)
					}
					for _, c := range out.Credits {
						if s.joined[c.Worker] {
							s.credit[c.Worker] += c.Tasks
						}
					}
					for _, h := range out.Running {
						told[sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: h.RunID, Step: h.Step}, Attempt: h.Attempt}] = true
					}
					for _, h := range slices.Concat(out.Returned, out.Refused) {
						delete(open, sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: h.RunID, Step: h.Step}, Attempt: h.Attempt})
					}
				}
			}
		}
		names := []events.WorkerID{"w1", "w2"}
		pick := func(t *rapid.T) (events.WorkerID, *place) {
			id := rapid.SampledFrom(names).Draw(t, "worker")
			return id, workers[id]
		}
		join := func(id events.WorkerID, w *place) {
			conn++
			held := []sessions.HeldTask{}
			for a := range w.has {
				held = append(held, sessions.HeldTask{Attempt: a})
			}
			if w.has == nil {
				w.has = map[sessions.Attempt]bool{}
			}
			w.conn, w.up = conn, true
			run := events.MakeRunID(int64(conn), [10]byte{})
			turn(sessions.Join{Conn: conn, Worker: sessions.Worker{
				Namespace: "default", ID: id, Queue: "q", Tasks: []sessions.Offer{{Name: "Pay"}}, TaskSlots: 3,
			}, Tasks: held}, sessions.Grant{Conn: conn, Tasks: 3 - len(w.has)}, sessions.ActivationDone{
				Conn: conn, Activation: sessions.Activation{WorkflowID: "w", RunID: run, Activation: 1, Attempt: 1}, Live: true, Command: events.ReportProgress{},
			})
		}
		handed := func(w *place) {
			for _, h := range hands {
				if h.Conn != w.conn || !w.up {
					continue
				}
				a := sessions.Attempt{WorkflowID: "w", Task: h.Delivery.Task.Task, Attempt: h.Delivery.Task.Attempt}
				w.has[a] = true
				turn(sessions.Started{Conn: h.Conn, Attempt: a, StartToClose: time.Hour})
			}
			hands = nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if id, w := pick(t); !w.up {
					join(id, w)
				}
			},
			"break": func(t *rapid.T) {
				if _, w := pick(t); w.up {
					w.up = false
					hands = nil
					turn(sessions.Leave{Conn: w.conn})
				}
			},
			"crash": func(t *rapid.T) {
				if _, w := pick(t); w.up {
					w.up, w.has, hands = false, nil, nil
					turn(sessions.Leave{Conn: w.conn})
				}
			},
			"deliver": func(t *rapid.T) {
				id, w := pick(t)
				if s.credit[id] <= 0 {
					return
				}
				s.credit[id]--
				step++
				a := sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: runOf("r1"), Step: step}, Attempt: 1}
				open[a], told[a] = true, true
				turn(sessions.Delivery{Worker: id, Number: 1, Task: &events.OpenTask{Namespace: "default", WorkflowID: "w", Task: a.Task, Attempt: 1}})
				handed(w)
			},
			"offer": func(t *rapid.T) {
				_, w := pick(t)
				step++
				a := sessions.Attempt{WorkflowID: "w", Task: events.TaskID{Run: events.MakeRunID(int64(w.conn), [10]byte{}), Step: step}, Attempt: 1}
				open[a] = true
				turn(sessions.Recorded{Record: &events.Record{
					Header: events.Header{Namespace: "default", WorkflowID: "w", RunID: a.Task.Run, Time: now, Seq: 1, First: 1},
					Events: []events.Event{events.TaskScheduled{Step: step, Name: "Pay", Queue: "q", OfferTo: 7, OfferUntil: now.Add(events.OfferFor)}},
				}})
				handed(w)
			},
			"give away what was offered": func(t *rapid.T) {
				id, to := pick(t)
				_, from := pick(t)
				held := slices.SortedFunc(maps.Keys(from.has), func(a, b sessions.Attempt) int { return cmp.Compare(a.Task.Step, b.Task.Step) })
				for _, a := range held {
					if open[a] && !told[a] && s.credit[id] > 0 {
						s.credit[id]--
						turn(sessions.Delivery{Worker: id, Number: 1, Task: &events.OpenTask{Namespace: "default", WorkflowID: "w", Task: a.Task, Attempt: 1}})
						if len(hands) > 0 {
							t.Fatalf("%v is with two workers", a)
						}
						handed(to)
					}
				}
			},
			"finish": func(t *rapid.T) {
				_, w := pick(t)
				if !w.up || len(w.has) == 0 {
					return
				}
				var a sessions.Attempt
				for has := range w.has {
					if a.Attempt == 0 || has.Task.Step < a.Task.Step {
						a = has
					}
				}
				delete(w.has, a)
				turn(sessions.TaskDone{Conn: w.conn, Attempt: a, Command: events.CompleteTask{Step: a.Task.Step, Attempt: 1}},
					sessions.Grant{Conn: w.conn, Tasks: 1})
			},
			"answer": func(*rapid.T) {
				if len(pendingN) == 0 {
					return
				}
				n := pendingN[0]
				pendingN = pendingN[1:]
				turn(sessions.SendResult{N: n, Fate: sessions.Kept}, sessions.Recorded{Record: &events.Record{
					Header: events.Header{Seq: 1, First: 1}, Answers: []events.Answer{{Session: 7, N: n, Code: events.OK}},
				}})
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 6).Draw(t, "seconds")) * time.Second)
				turn()
				for id, w := range workers {
					if w.up && s.credit[id]+len(w.has) != 3 {
						t.Fatalf("%s has %d places granted and %d attempts, together not 3", id, s.credit[id], len(w.has))
					}
				}
			},
			"": func(t *rapid.T) {
				for id, w := range workers {
					untold := 0
					for a := range w.has {
						if !told[a] {
							untold++
						}
					}
					if taken := s.credit[id] + len(w.has); w.up && (taken < 3 || taken > 3+untold) {
						t.Fatalf("%s has %d places granted and %d attempts, %d of them untold: not 3", id, s.credit[id], len(w.has), untold)
					}
					if !w.up && s.credit[id] != 0 {
						t.Fatalf("%s is away and has %d places", id, s.credit[id])
					}
				}
			},
		})
		for _, w := range workers {
			if w.up {
				w.up = false
				turn(sessions.Leave{Conn: w.conn})
			}
		}
		for at := core.Wake(); at != 0; at = core.Wake() {
			now = max(now, at)
			turn()
		}
		if len(open) != 0 || len(s.joined) != 0 {
			t.Fatalf("attempts %v are lost; workers %v are still there", open, s.joined)
		}
		for len(pendingN) > 0 {
			n := pendingN[0]
			pendingN = pendingN[1:]
			turn(sessions.SendResult{N: n, Fate: sessions.Kept}, sessions.Recorded{Record: &events.Record{
				Header: events.Header{Seq: 1, First: 1}, Answers: []events.Answer{{Session: 7, N: n, Code: events.OK}},
			}})
		}
		if st := core.Stats(); st.Tasks != 0 || st.Workers != 0 || st.Unanswered != 0 {
			t.Fatalf("left over: %+v", st)
		}
	})
}
