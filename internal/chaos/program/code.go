package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// Definitions that clients and workers share.
var (
	Run     = flow.NewWorkflow[Program, Seen]("chaos.Run")
	Mailbox = flow.NewWorkflow[flow.None, []string]("chaos.Mailbox")

	// Signal carries what a run waits for, Extra what may come or not, Item what a mailbox keeps.
	Signal = flow.NewSignal[string]("chaos.Signal")
	Extra  = flow.NewSignal[string]("chaos.Extra")
	Item   = flow.NewSignal[string]("chaos.Item")

	// Number is the view that programs publish.
	Number = flow.NewView[int]("chaos.Number")

	work = flow.NewTask[job, int]("chaos.Work", flow.Retry(flow.RetryPolicy{Initial: 5 * time.Millisecond, Max: 50 * time.Millisecond}))
)

// EndItem tells a mailbox to end.
const EndItem = "end"

// CancelledCode is the code of a run that ended because it was cancelled; what it had seen is in the details.
const CancelledCode = "chaos_cancelled"

// job is the input of the task.
type job struct {
	How   Kind `json:"how"`
	N     int  `json:"n"`
	MS    int  `json:"ms,omitempty"`
	Tries int  `json:"tries,omitempty"`
}

// Code binds the workflows and the task for a worker that writes down what it executes. Now stamps executions.
func Code(executions *ledger.Executions, c clock.Clock) []worker.Option {
	tasks := tasks{executions, c}
	return []worker.Option{
		Run.With(func(ctx flow.Context, p Program) (Seen, error) { return run(ctx, p, tasks) }),
		Mailbox.With(mailbox),
		work.With(tasks.work),
	}
}

// tasks is the code that runs in workers as ordinary Go.
type tasks struct {
	executions *ledger.Executions
	clock      clock.Clock
}

var (
	errFlaky   = errors.New("not yet")
	errBroken  = task.Failure("broken", "always fails")
	errRefused = task.Permanent(task.Failure("refused", "fails for good"))
)

func (t tasks) work(ctx context.Context, j job) (n int, err error) {
	done := t.executions.Begin(task.Info(ctx), false)
	defer func() { done(err) }()
	take := time.Duration(j.MS) * time.Millisecond
	switch j.How {
	case Fails:
		return 0, errRefused
	case Limited:
		return 0, errBroken
	case Flaky:
		if int(task.Info(ctx).Attempt) < j.Tries {
			return 0, errFlaky
		}
	case Timed:
		take /= 8
	case GiveUp:
		take = time.Hour // its context ends
	case Call, Step, Sleep, Receive, View, Parallel, Again, Forever:
	}
	if take > 0 {
		timer := t.clock.NewTimer(take)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return worked(j.N), nil
}

func (t tasks) step(ctx context.Context, op Op) (n int, err error) {
	done := t.executions.Begin(task.Info(ctx), true)
	defer func() { done(err) }()
	if int(task.Info(ctx).Attempt) < op.Tries {
		return 0, errFlaky
	}
	return worked(op.N), nil
}

// player runs a program.
type player struct {
	tasks tasks
	seen  *Seen // what was received, shared by all branches
}

// run is the code of [Run].
func run(ctx flow.Context, p Program, t tasks) (Seen, error) {
	seen := p.So
	player := player{t, &seen}
	for i, op := range p.Ops {
		if op.Do == Again {
			seen.Lines = append(seen.Lines, fmt.Sprint("again at ", len(p.Ops)-i-1))
			return Run.Continue(ctx, Program{Ops: p.Ops[i+1:], So: seen})
		}
		lines, err := player.op(ctx, op)
		if err != nil {
			return player.cancelled(ctx, err)
		}
		seen.Lines = append(seen.Lines, lines...)
	}
	player.drain(ctx)
	return seen, nil
}

// cancelled ends a cancelled run: it cleans up by a task, takes in what signals are there, and says what it has seen.
func (p player) cancelled(ctx flow.Context, cause error) (Seen, error) {
	if !errors.Is(cause, flow.ErrCancelled) {
		return Seen{}, cause
	}
	n, err := work.Call(flow.WithoutCancel(ctx), job{How: Call, N: len(p.seen.Lines)})
	if err != nil {
		return Seen{}, err
	}
	if n != worked(len(p.seen.Lines)) {
		return Seen{}, flow.Fail("wrong_result", fmt.Sprint("cleaning up returned ", n))
	}
	p.drain(ctx)
	return Seen{}, flow.Fail(CancelledCode, "cancelled").With(*p.seen).Because(flow.ErrCancelled)
}

// drain takes every signal that is there: one that comes later, before the end is accepted, is seen by a further round.
func (p player) drain(ctx flow.Context) {
	for v, ok, err := Signal.TryNext(ctx); ok && err == nil; v, ok, err = Signal.TryNext(ctx) {
		p.seen.Signals = append(p.seen.Signals, v)
	}
	for v, ok, err := Extra.TryNext(ctx); ok && err == nil; v, ok, err = Extra.TryNext(ctx) {
		p.seen.Extras = append(p.seen.Extras, v)
	}
}

// op runs one operation and returns the lines it makes. The error says that the run was cancelled, or is unexpected.
func (p player) op(ctx flow.Context, op Op) ([]string, error) {
	switch op.Do {
	case Call, Flaky, Fails, Limited, Timed, GiveUp:
		line, err := p.call(ctx, op)
		return []string{line}, err
	case Step:
		n, err := flow.Step(ctx, "chaos.Step", func(ctx context.Context) (int, error) { return p.tasks.step(ctx, op) },
			flow.Retry(flow.RetryPolicy{Initial: time.Millisecond, Max: 10 * time.Millisecond}))
		return []string{fmt.Sprint("step=", n)}, err
	case Sleep:
		return []string{"slept"}, flow.Sleep(ctx, time.Duration(op.MS)*time.Millisecond)
	case Receive:
		for range op.N {
			v, err := Signal.Next(ctx).Await(ctx)
			if err != nil {
				return nil, err
			}
			p.seen.Signals = append(p.seen.Signals, v)
		}
		return []string{fmt.Sprint("received ", op.N)}, nil
	case View:
		Number.Set(ctx, op.N)
		return []string{fmt.Sprint("view ", op.N)}, nil
	case Parallel:
		return p.parallel(ctx, op.Branches)
	case Forever:
		return nil, flow.Sleep(ctx, 10_000*time.Hour)
	case Again: // handled by run
	}
	return nil, flow.Fail("bad_program", fmt.Sprintf("unknown operation %q", op.Do))
}

// call calls the task.
func (p player) call(ctx flow.Context, op Op) (string, error) {
	t, scope := work, ctx
	switch op.Do {
	case Limited:
		t = work.Opt(flow.Retry(flow.RetryPolicy{Initial: 5 * time.Millisecond, MaxAttempts: uint32(op.Tries)}))
	case Timed:
		t = work.Opt(flow.Timeout(time.Duration(op.MS) * time.Millisecond))
	case GiveUp:
		var cancel func()
		scope, cancel = flow.WithTimeout(ctx, time.Duration(op.MS)*time.Millisecond)
		defer cancel()
	case Call, Flaky, Fails, Step, Sleep, Receive, View, Parallel, Again, Forever:
	}
	n, err := t.Call(scope, job{How: op.Do, N: op.N, MS: op.MS, Tries: op.Tries})
	var failed *flow.TaskError
	switch {
	case err == nil:
		return fmt.Sprint(op.Do, "=", n), nil
	case op.Do == GiveUp && errors.Is(err, flow.ErrTimeout):
		return "give_up: timeout", nil
	case errors.As(err, &failed) && failed.Code == events.CodeWorkerLost, errors.As(err, &failed) && failed.Code == events.CodeOutcomeUnknown:
		return fmt.Sprint(op.Do, ": lost"), nil
	case errors.As(err, &failed):
		return fmt.Sprint(op.Do, ": ", failed.Code), nil
	}
	return "", err
}

// parallel runs branches side by side; their lines follow each other.
func (p player) parallel(ctx flow.Context, branches [][]Op) ([]string, error) {
	futures := make([]*flow.Future[string], 0, len(branches))
	for _, branch := range branches {
		futures = append(futures, flow.Go(ctx, func(ctx flow.Context, ops []Op) (string, error) {
			var all []string
			for _, op := range ops {
				lines, err := p.op(ctx, op)
				if err != nil {
					return "", err
				}
				all = append(all, lines...)
			}
			return strings.Join(all, "\n"), nil
		}, branch))
	}
	texts, err := flow.All(ctx, futures...)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.Join(texts, "\n"), "\n"), nil
}

// mailbox is the code of [Mailbox].
func mailbox(ctx flow.Context, _ flow.None) ([]string, error) {
	items := []string{}
	var err error
	for len(items) == 0 || items[len(items)-1] != EndItem {
		var item string
		if item, err = Item.Next(ctx).Await(ctx); err != nil {
			break
		}
		items = append(items, item)
	}
	for v, ok, e := Item.TryNext(ctx); ok && e == nil; v, ok, e = Item.TryNext(ctx) {
		items = append(items, v)
	}
	if err != nil {
		return nil, flow.Fail(CancelledCode, "cancelled").With(items).Because(err)
	}
	return items, nil
}
