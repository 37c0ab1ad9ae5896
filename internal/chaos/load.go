package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// load is the clients.
type load struct {
	c       *campaign
	clients []*client.Client
	next    atomic.Int64 // numbers runs and mailboxes

	mu        sync.Mutex
	plans     map[string]program.Program
	mailboxes []string
}

// connections is how many clients there are; each keeps one stream.
const connections = 4

func newLoad(c *campaign) (*load, error) {
	l := &load{c: c, plans: map[string]program.Program{}}
	for range connections {
		one, err := client.Dial(c.system.Addr, client.Options{Identity: "chaos"})
		if err != nil {
			l.close()
			return nil, err
		}
		l.clients = append(l.clients, one)
	}
	return l, nil
}

func (l *load) close() {
	for _, one := range l.clients {
		_ = one.Close() // nothing is asked any more
	}
}

// run begins new work until the storm is over, and returns when all of it has ended or calm has.
func (l *load) run(storm, calm context.Context) {
	var all sync.WaitGroup
	for range l.c.InFlight {
		all.Go(func() {
			for storm.Err() == nil {
				l.one(calm, l.next.Add(1))
			}
		})
	}
	for range l.c.Mailboxes {
		all.Go(func() {
			for storm.Err() == nil {
				l.mailbox(storm, calm, l.next.Add(1))
			}
		})
	}
	<-storm.Done()
	all.Go(func() { l.emptyMailboxes(calm) })
	all.Wait()
}

// any picks one of the connections.
func (l *load) any(r *rand.Rand) *client.Client { return l.clients[r.IntN(len(l.clients))] }

// ask makes one request with a bound on its time and writes down what came out.
func (l *load) ask(ctx context.Context, op ledger.Op, patience time.Duration, do func(context.Context) (events.RunID, error)) ledger.Op {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	op.Call = l.c.now()
	run, err := do(ctx)
	op.Return, op.Code = l.c.now(), ledger.OK
	var refusal *events.Error
	switch {
	case err == nil && ctx.Err() != nil: // a start may be durable and not decided
		op.Code, run = ledger.Unknown, events.RunID{}
	case err == nil:
	case errors.As(err, &refusal) && decided(refusal.Code):
		op.Code, run = string(refusal.Code), refusal.RunID
	default:
		op.Code = ledger.Unknown
	}
	if !run.IsZero() {
		op.Run = run.String()
	}
	l.c.book.Note(op)
	return op
}

// decided reports whether a refusal says that the request did not happen and will not.
func decided(code events.Code) bool {
	switch code {
	case events.RunEnded, events.RunCompleting, events.NotFound, events.AlreadyOpen, events.InboxFull, events.IDTaken, events.InvalidArgument:
		return true
	default:
		return false
	}
}

// Patience of clients. One in five gives up early at first, and asks again with the same request id.
const patient = 30 * time.Second

func impatience(r *rand.Rand) time.Duration {
	if r.IntN(5) == 0 {
		return time.Duration(10+r.IntN(250)) * time.Millisecond
	}
	return patient
}

// insist asks until there is an answer.
func (l *load) insist(ctx context.Context, r *rand.Rand, op ledger.Op, do func(context.Context, *client.Client) (events.RunID, error)) ledger.Op {
	for patience := impatience(r); ; patience = patient {
		c := l.any(r)
		done := l.ask(ctx, op, patience, func(ctx context.Context) (events.RunID, error) { return do(ctx, c) })
		if done.Code != ledger.Unknown || ctx.Err() != nil {
			return done
		}
	}
}

// one starts a run of a new program, sends what it waits for, cancels it when it waits for that, and awaits its end.
func (l *load) one(ctx context.Context, n int64) {
	r := rand.New(rand.NewPCG(l.c.Seed, uint64(n)<<8))
	p := program.Draw(r)
	w := fmt.Sprint("run/", n)
	l.mu.Lock()
	l.plans[w] = p
	l.mu.Unlock()
	start := func(ctx context.Context, c *client.Client) (events.RunID, error) {
		run, err := program.Run.Start(ctx, c, p, flow.ID(w), flow.RequestID(w+"/start"))
		return run.RunID(), err
	}
	op := ledger.Op{Verb: ledger.Start, Workflow: w, Request: w + "/start"}
	var all sync.WaitGroup
	if r.IntN(6) == 0 { // twice at once
		other := rand.New(rand.NewPCG(l.c.Seed, uint64(n)<<8|1))
		all.Go(func() { l.insist(ctx, other, op, start) })
	}
	begun := l.insist(ctx, r, op, start)
	if !begun.Acked() {
		all.Wait()
		return
	}
	target, err := events.ParseRunID(begun.Run)
	if err != nil || r.IntN(2) == 0 {
		target = events.RunID{} // the newest
	}
	for lane, sends := range map[ledger.Verb]int{ledger.Signal: p.Signals(), ledger.Extra: r.IntN(3)} {
		own := rand.New(rand.NewPCG(l.c.Seed, uint64(n)<<8|uint64(2+len(lane)))) // the verbs differ in length
		all.Go(func() { l.send(ctx, own, w, target, lane, sends) })
	}
	if p.EndsByCancel() {
		own := rand.New(rand.NewPCG(l.c.Seed, uint64(n)<<8|100))
		all.Go(func() {
			l.c.pause(ctx, time.Duration(own.IntN(3000))*time.Millisecond)
			l.cancel(ctx, own, w)
		})
	}
	l.await(ctx, r, w, begun.Run)
	all.Wait()
	if r.IntN(8) == 0 {
		l.insist(ctx, r, op, start) // the same start after the end is the same run
	}
}

// send sends signals one after the other, some of them again.
func (l *load) send(ctx context.Context, r *rand.Rand, w string, run events.RunID, lane ledger.Verb, n int) {
	signal := program.Signal
	if lane == ledger.Extra {
		signal = program.Extra
	}
	for i := range n {
		l.c.pause(ctx, time.Duration(r.IntN(400))*time.Millisecond)
		op := ledger.Op{Verb: lane, Workflow: w, Request: fmt.Sprint(w, "/", lane, i), Value: fmt.Sprint(lane, i)}
		for again := true; again && ctx.Err() == nil; again = r.IntN(5) == 0 {
			l.insist(ctx, r, op, func(ctx context.Context, c *client.Client) (events.RunID, error) {
				return sendSignal(ctx, c, w, run, signal.Name(), op)
			})
		}
	}
}

// sendSignal is what flow.Signal.Send does, and tells which run has taken the signal.
func sendSignal(ctx context.Context, c *client.Client, w string, run events.RunID, name string, op ledger.Op) (events.RunID, error) {
	value, err := c.Payloads().Encode(op.Value)
	if err != nil {
		return run, err
	}
	answer, err := c.Do(ctx, events.Envelope{
		WorkflowID: events.WorkflowID(w), RunID: run, RequestID: events.RequestID(op.Request),
		Command: events.SignalWorkflow{Name: events.SignalName(name), Input: value},
	})
	return answer.RunID, err
}

func (l *load) cancel(ctx context.Context, r *rand.Rand, w string) {
	op := ledger.Op{Verb: ledger.Cancel, Workflow: w, Request: w + "/cancel"}
	l.insist(ctx, r, op, func(ctx context.Context, c *client.Client) (events.RunID, error) {
		return steer(ctx, c, op, events.CancelWorkflow{Reason: "chaos"})
	})
}

func steer(ctx context.Context, c *client.Client, op ledger.Op, command events.Command) (events.RunID, error) {
	answer, err := c.Do(ctx, events.Envelope{
		WorkflowID: events.WorkflowID(op.Workflow), RequestID: events.RequestID(op.Request), Command: command,
	})
	return answer.RunID, err
}

// await waits for the end of a run and writes down what the client was told.
func (l *load) await(ctx context.Context, r *rand.Rand, w, run string) {
	id, err := events.ParseRunID(run)
	if err != nil {
		return
	}
	op := ledger.Op{Verb: ledger.Result, Workflow: w, Run: run, Call: l.c.now()}
	outcome, err := l.any(r).Result(ctx, flow.RunRef{WorkflowID: events.WorkflowID(w), RunID: id})
	op.Return, op.Code = l.c.now(), ledger.OK
	if err != nil {
		op.Code = ledger.Unknown
	} else {
		op.State, op.Value = outcome.Status.String(), string(outcome.Result.Data)
	}
	l.c.book.Note(op)
}
