package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Binding is a definition with its code: what [Service], [Task.With] and [Workflow.With] return, and what a worker is made
// of.
type Binding interface {
	// WorkerOption lets bindings stand in one list with the options of a worker.
	WorkerOption()
	bind(*Registry) error
}

type runTask func(ctx context.Context, c payload.Converter, input events.Payload) (events.Payload, error)

type taskBinding struct {
	def *definition
	run runTask
	err error
}

type serviceBinding struct {
	tasks []*taskBinding
	errs  []error
}

type workflowBinding struct {
	name      string
	signature string
	run       func(ctx Context, input events.Payload) events.Intent
	err       error
}

// WorkerOption lets bindings stand in one list with the options of a worker.
func (*taskBinding) WorkerOption() {}

// WorkerOption lets bindings stand in one list with the options of a worker.
func (*serviceBinding) WorkerOption() {}

// WorkerOption lets bindings stand in one list with the options of a worker.
func (*workflowBinding) WorkerOption() {}

// Registry holds the code of a worker by durable names.
type Registry struct {
	tasks     map[string]*taskBinding
	workflows map[string]*workflowBinding
}

// Offer is one thing that a registry has code for.
type Offer struct {
	Name string
	// Signature has the names of the types, such as "billing.Charge -> billing.Payment". Workers that offer one name with
	// different signatures do not fit together.
	Signature string
}

// NewRegistry collects bindings. The error names everything that is wrong with them: refused definitions, and names that
// mean two things (errors.Is finds &events.Error{Code: events.DuplicateName}).
func NewRegistry(bindings ...Binding) (*Registry, error) {
	r := &Registry{tasks: make(map[string]*taskBinding), workflows: make(map[string]*workflowBinding)}
	var errs []error
	for i, b := range bindings {
		if b == nil {
			errs = append(errs, fmt.Errorf("flow: binding %d is nil", i+1))
			continue
		}
		errs = append(errs, b.bind(r))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

func (b *taskBinding) bind(r *Registry) error {
	switch {
	case b.def == nil:
		return errUndefined
	case b.def.err != nil:
		return b.def.err
	case b.err != nil:
		return b.err
	}
	if r.tasks[b.def.name] != nil {
		return boundTwice("task", b.def.name)
	}
	r.tasks[b.def.name] = b
	return nil
}

func (b *serviceBinding) bind(r *Registry) error {
	errs := b.errs
	for _, t := range b.tasks {
		errs = append(errs, t.bind(r))
	}
	return errors.Join(errs...)
}

func (b *workflowBinding) bind(r *Registry) error {
	if b.err != nil {
		return b.err
	}
	if r.workflows[b.name] != nil {
		return boundTwice("workflow", b.name)
	}
	r.workflows[b.name] = b
	return nil
}

func boundTwice(what, name string) error {
	return &events.Error{Code: events.DuplicateName, Message: fmt.Sprintf(
		"flow: %s %q is bound twice; bind it once, or give one of the two another name with flow.Name", what, name,
	)}
}

// Tasks lists the tasks that the registry has code for, by name.
func (r *Registry) Tasks() []Offer {
	offers := make([]Offer, 0, len(r.tasks))
	for _, name := range slices.Sorted(maps.Keys(r.tasks)) {
		offers = append(offers, Offer{name, r.tasks[name].def.signature})
	}
	return offers
}

// Workflows lists the workflows that the registry has code for, by name.
func (r *Registry) Workflows() []Offer {
	offers := make([]Offer, 0, len(r.workflows))
	for _, name := range slices.Sorted(maps.Keys(r.workflows)) {
		offers = append(offers, Offer{name, r.workflows[name].signature})
	}
	return offers
}

// TaskOutcome is how an attempt of a task ended.
type TaskOutcome struct {
	Result  events.Payload
	Failure *events.Failure // nil when the attempt succeeded
	// RetryAfter is the delay that the task asked for; negative means the policy chooses.
	RetryAfter time.Duration
}

// RunTask runs one attempt of a task on the calling goroutine; ctx is made with [task.NewContext]. A panic is a failure with
// code task_panicked; runtime.Goexit (t.FailNow does that) is not caught.
func (r *Registry) RunTask(ctx context.Context, c payload.Converter, name events.TaskName, input events.Payload) TaskOutcome {
	b := r.tasks[string(name)]
	if b == nil {
		return TaskOutcome{RetryAfter: -1, Failure: &events.Failure{
			Code: events.CodeNotImplemented, Message: fmt.Sprintf("the worker has no code for task %q", name),
		}}
	}
	result, err := b.try(ctx, c, input)
	if err != nil {
		failure, retryAfter := failureOf(err, c)
		return TaskOutcome{Failure: failure, RetryAfter: retryAfter}
	}
	return TaskOutcome{Result: result, RetryAfter: -1}
}

// failureOf returns an error of a task or step as it travels, and the delay that it asks for. The error's own methods are the
// user's code, too: one that panics is a panic of the task.
func failureOf(err error, c payload.Converter) (failure *events.Failure, retryAfter time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			failure = task.FailureOf(task.Failure(events.CodeTaskPanicked, fmt.Sprintf("panic in a method of the error %T: %v", err, p)), "", c)
			retryAfter = -1
		}
	}()
	return task.FailureOf(err, events.CodeTaskFailed, c), task.RetryDelay(err)
}

func (b *taskBinding) try(ctx context.Context, c payload.Converter, input events.Payload) (result events.Payload, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return b.run(ctx, c, input)
}

// RunConfig describes a run to be given an activation.
type RunConfig struct {
	Type       events.WorkflowType
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Payloads   payload.Converter
	// Logger gets what the code logs with [Log]; nil means nothing does.
	Logger *slog.Logger
	// Threads lend the run's fibers their goroutines; nil means that each has one of its own.
	Threads *replay.Threads
	// Unguarded is that of [replay.Options].
	Unguarded bool
}

// NewRun returns the runtime of a run of a workflow, not begun. The error has the code not_implemented when the registry has
// no code for its type.
func (r *Registry) NewRun(c RunConfig) (*replay.Run, error) {
	b := r.workflows[string(c.Type)]
	if b == nil {
		return nil, &events.Error{Code: events.NotImplemented, RunID: c.RunID, Message: fmt.Sprintf("the worker has no code for workflow %q", c.Type)}
	}
	rt := &runtime{ref: RunRef{c.WorkflowID, c.RunID}, workflow: c.Type, payloads: c.Payloads}
	rt.Run = replay.New(replay.Options{RunID: c.RunID, Threads: c.Threads, Unguarded: c.Unguarded, Main: func(run *replay.Run, input events.Payload) events.Intent {
		return b.run(Context{run: rt, scope: run.Root()}, input)
	}})
	rt.next = c.Logger
	return rt.Run, nil
}

// log returns the run's logger, which is made when the code first asks.
func (r *runtime) log() *slog.Logger {
	r.asked.Do(func() {
		next := slog.DiscardHandler
		if r.next != nil {
			next = r.next.Handler()
		}
		r.logger = slog.New(&quiet{next, r.Run}).With(
			slog.String("workflow_type", string(r.workflow)), slog.String("workflow_id", string(r.ref.WorkflowID)),
			slog.String("run_id", r.ref.RunID.String()),
		)
	})
	return r.logger
}

// quiet drops what replayed code logs.
type quiet struct {
	next slog.Handler
	run  *replay.Run
}

func (q *quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return !q.run.Replaying() && q.next.Enabled(ctx, l)
}

func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if q.run.Replaying() {
		return nil
	}
	return q.next.Handle(ctx, r)
}

func (q *quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quiet{q.next.WithAttrs(attrs), q.run}
}

func (q *quiet) WithGroup(name string) slog.Handler { return &quiet{q.next.WithGroup(name), q.run} }
