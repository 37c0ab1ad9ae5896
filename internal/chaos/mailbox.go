package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// Size of the history of one mailbox. The search for an order of its operations is exponential in those that overlap.
const (
	mailboxClients = 5
	mailboxOps     = 14 // for each client
)

// mailbox has several clients steer one workflow id at once. All that they ask and are told is one history.
func (l *load) mailbox(storm, calm context.Context, n int64) {
	w := fmt.Sprint("mailbox/", n)
	l.mu.Lock()
	l.mailboxes = append(l.mailboxes, w)
	l.mu.Unlock()
	box := &mailboxLoad{load: l, workflow: w}
	var all sync.WaitGroup
	for k := range mailboxClients {
		r := rand.New(rand.NewPCG(l.c.Seed, uint64(n)<<8|uint64(k)))
		all.Go(func() {
			for range mailboxOps {
				if storm.Err() != nil {
					return
				}
				box.op(calm, r, k)
				l.c.pause(storm, time.Duration(r.IntN(60))*time.Millisecond)
			}
		})
	}
	all.Wait()
}

// mailboxLoad is one mailbox under load.
type mailboxLoad struct {
	*load
	workflow string
	requests atomic.Int64
	starts   atomic.Int64
}

// op does one random operation; one in ten is given up early.
func (b *mailboxLoad) op(ctx context.Context, r *rand.Rand, k int) {
	patience := patient
	if r.IntN(10) == 0 {
		patience = time.Duration(5+r.IntN(150)) * time.Millisecond
	}
	op := ledger.Op{Client: k, Workflow: b.workflow}
	switch n := r.IntN(100); {
	case n < 20:
		b.start(ctx, r, op, patience, b.starts.Add(1))
	case n < 26:
		b.start(ctx, r, op, patience, 1+r.Int64N(max(b.starts.Load(), 1)))
	case n < 62:
		b.signal(ctx, r, op, patience, "")
	case n < 68:
		b.signal(ctx, r, op, patience, program.EndItem)
	case n < 73:
		b.steer(ctx, r, op, patience, ledger.Cancel, events.CancelWorkflow{Reason: "chaos"})
	case n < 77:
		b.steer(ctx, r, op, patience, ledger.Terminate, events.TerminateWorkflow{Reason: "chaos"})
	default:
		b.status(ctx, r, op)
	}
}

func (b *mailboxLoad) start(ctx context.Context, r *rand.Rand, op ledger.Op, patience time.Duration, n int64) {
	op.Verb, op.Request = ledger.Start, fmt.Sprint(b.workflow, "/start", n)
	c := b.any(r)
	b.ask(ctx, op, patience, func(ctx context.Context) (events.RunID, error) {
		run, err := program.Mailbox.Start(ctx, c, flow.None{}, flow.ID(b.workflow), flow.RequestID(op.Request))
		return run.RunID(), err
	})
}

func (b *mailboxLoad) signal(ctx context.Context, r *rand.Rand, op ledger.Op, patience time.Duration, value string) ledger.Op {
	n := b.requests.Add(1)
	op.Verb, op.Request, op.Value = ledger.Signal, fmt.Sprint(b.workflow, "/", n), value
	if value == "" {
		op.Value = fmt.Sprint(n)
	}
	c := b.any(r)
	return b.ask(ctx, op, patience, func(ctx context.Context) (events.RunID, error) {
		return sendSignal(ctx, c, b.workflow, events.RunID{}, program.Item.Name(), op)
	})
}

func (b *mailboxLoad) steer(ctx context.Context, r *rand.Rand, op ledger.Op, patience time.Duration, verb ledger.Verb, command events.Command) {
	op.Verb, op.Request = verb, fmt.Sprint(b.workflow, "/", b.requests.Add(1))
	c := b.any(r)
	b.ask(ctx, op, patience, func(ctx context.Context) (events.RunID, error) { return steer(ctx, c, op, command) })
}

// status asks, without waiting, whether the newest run has ended.
func (b *mailboxLoad) status(ctx context.Context, r *rand.Rand, op ledger.Op) ledger.Op {
	op.Verb = ledger.Status
	c := b.any(r)
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	op.Call = b.c.now()
	answer, err := apiv1.NewWorkflowServiceClient(c.Conn()).GetResult(ctx, &apiv1.GetResultRequest{WorkflowId: b.workflow})
	op.Return, op.Code = b.c.now(), ledger.OK
	outcome := answer.GetOutcome()
	switch {
	case err != nil:
		op.Code = ledger.Unknown
		if code := wire.FromStatus(err).Code; decided(code) {
			op.Code = string(code)
		}
	default:
		status := wire.FromRunStatus(outcome.GetStatus())
		op.Run, op.State = outcome.GetRunId(), status.String()
		var failure *events.Failure
		if outcome.GetFailure() != nil {
			failure = wire.FromFailure(outcome.GetFailure())
		}
		if !status.Open() {
			op.Items, err = audit.Items(status, outcome.GetResult().GetData(), failure)
		}
		if err != nil {
			op.State = err.Error()
		}
	}
	b.c.book.Note(op)
	return op
}

// quietTime is how long a mailbox has to stay empty: a start whose client gave up may still come.
const quietTime = 3 * time.Second

// emptyMailboxes ends the runs that the mailboxes' clients left open.
func (l *load) emptyMailboxes(ctx context.Context) {
	l.c.pause(ctx, quietTime)
	l.mu.Lock()
	open := l.mailboxes
	l.mu.Unlock()
	r := rand.New(rand.NewPCG(l.c.Seed, 2))
	for round := 0; len(open) > 0 && ctx.Err() == nil; round++ {
		var left []string
		for _, w := range open {
			b := &mailboxLoad{load: l, workflow: w}
			b.requests.Store(int64(1_000_000 * (round + 1))) // no id of the storm
			op := ledger.Op{Client: mailboxClients, Workflow: w}
			seen := b.status(ctx, r, op)
			if seen.Code == ledger.Unknown || seen.State == events.StatusRunning.String() {
				left = append(left, w)
			}
			if seen.State == events.StatusRunning.String() {
				b.signal(ctx, r, op, patient, program.EndItem)
			}
		}
		open = left
		l.c.pause(ctx, 200*time.Millisecond)
	}
}
