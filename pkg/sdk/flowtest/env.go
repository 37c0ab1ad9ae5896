// Package flowtest runs workflows and tasks in a test: the bindings of a worker, the engine's own rules, and a clock that
// the test owns. There is no server, no network and no waiting: ten years pass in milliseconds.
//
//	env := flowtest.New(t,
//		billing.Monthly.With(billing.Bill),
//		flow.Service[billing.PaymentService](fakePayments{}),
//	)
//	run, err := billing.Monthly.Start(t.Context(), env, sub)
//	env.Advance(10 * 365 * 24 * time.Hour)
//	err = billing.Unsubscribed.Send(t.Context(), env, run.ID(), reason)
//	statement, err := run.Result(t.Context())
//
// An [Env] is a flow.Client, so the test uses the verbs of the definitions, and the same test body can run against a server.
//
// Every run is replayed from its history when it has ended, or when the test does: code that depends on anything but its
// history fails the test. So code of a workflow that has an effect on variables of the test has it twice.
package flowtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// Options of an [Env]. The zero value is good for most tests.
type Options struct {
	// Start is the time at which the test's clock begins; the zero time means 2026-01-01 00:00 UTC.
	Start time.Time
	// Payloads turns values into payloads; the zero value uses JSON.
	Payloads payload.Converter
	// Logger gets what workflow code logs; nil means nothing does.
	Logger *slog.Logger
}

// Env is a world with one worker, for one test. Its methods may be called from any goroutine, those of tasks included.
//
// Everything that can happen without time passing happens before a method returns: workflow code runs, and so do tasks, one
// after the other in the order of their calls. A task that takes longer than 50 ms goes on beside.
type Env struct {
	t        testing.TB
	options  Options
	registry *flow.Registry

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something happened
	now      events.Time
	seq      events.Seq
	ids      uint64
	runs     map[events.RunID]*run
	newest   map[events.WorkflowID]*run
	order    []*run
	requests map[requestKey]events.Answer
	timeline timeline
	ready    []work                           // to be done now, in this order
	working  bool                             // somebody is doing it
	open     map[events.TaskID]events.Attempt // the attempts that may run
	attempts map[events.TaskID]*attempt       // those that do
	tasks    sync.WaitGroup
	unbound  map[events.TaskName]bool
	closed   bool
}

type requestKey struct {
	workflow events.WorkflowID
	request  events.RequestID
}

// run is one run of a workflow.
type run struct {
	state    *machine.Run
	ref      flow.RunRef
	typ      events.WorkflowType
	records  []*events.Record
	status   events.Status
	outcome  flow.Outcome
	views    map[events.ViewName]events.Payload
	timers   map[events.TimerID]*item
	live     *liveRun
	broken   error // why its code cannot go on
	checking bool
}

// New returns a world with the given bindings. What is wrong with them ends the test.
func New(t testing.TB, bindings ...flow.Binding) *Env {
	t.Helper()
	return NewWith(t, Options{}, bindings...)
}

// NewWith is [New] with options.
func NewWith(t testing.TB, options Options, bindings ...flow.Binding) *Env {
	t.Helper()
	registry, err := flow.NewRegistry(bindings...)
	if err != nil {
		t.Fatal(err)
	}
	if options.Start.IsZero() {
		options.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	e := &Env{
		t: t, options: options, registry: registry, now: events.TimeOf(options.Start), changed: make(chan struct{}),
		runs: map[events.RunID]*run{}, newest: map[events.WorkflowID]*run{}, requests: map[requestKey]events.Answer{},
		open: map[events.TaskID]events.Attempt{}, attempts: map[events.TaskID]*attempt{}, unbound: map[events.TaskName]bool{},
	}
	t.Cleanup(e.close)
	return e
}

// close ends what still runs, and replays the runs that have not ended.
func (e *Env) close() {
	e.mu.Lock()
	e.closed = true
	for _, a := range e.attempts { // all are stopped, in any order
		a.cancel(errClosed)
	}
	e.mu.Unlock()
	e.tasks.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.order {
		if r.live != nil {
			r.live.close()
			r.live = nil
		}
		if r.status.Open() && r.broken == nil {
			e.check(r)
		}
	}
}

// Now returns the time of the test's clock.
func (e *Env) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now.Std()
}

// Status returns the status of the newest run of a workflow id; unknown when there is none.
func (e *Env) Status(id string) events.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.newest[events.WorkflowID(id)]; r != nil {
		return r.status
	}
	return events.StatusUnknown
}

// History returns the history of the newest run of a workflow id in its canonical JSON form, which [Replay] takes.
func (e *Env) History(id string) []byte {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.newest[events.WorkflowID(id)]
	if r == nil {
		e.t.Fatalf("flowtest: there is no run of workflow %q", id)
	}
	b, err := events.MarshalHistory(events.HistoryInfo{
		Namespace: events.DefaultNamespace, WorkflowID: r.ref.WorkflowID, RunID: r.ref.RunID, Type: r.typ, Status: r.status,
	}, r.records)
	if err != nil {
		e.t.Fatalf("flowtest: the history of %q: %v", id, err)
	}
	return b
}

// NewRunID returns the next of a row of run ids that is the same in every test.
func (e *Env) NewRunID() events.RunID {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids++
	var b [10]byte
	binary.BigEndian.PutUint64(b[2:], e.ids)
	return events.MakeRunID(e.now.Std().UnixMilli(), b)
}

// Payloads converts the values that are sent and received.
func (e *Env) Payloads() payload.Converter { return e.options.Payloads }

// Do gives a command to the engine and lets everything happen that can without time passing.
func (e *Env) Do(ctx context.Context, command events.Envelope) (events.Answer, error) {
	if err := ctx.Err(); err != nil {
		return events.Answer{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	answer, err := e.do(command)
	if err != nil {
		return answer, err
	}
	e.work()
	return answer, nil
}

func (e *Env) do(env events.Envelope) (events.Answer, error) {
	if e.closed {
		return events.Answer{}, errClosed
	}
	if env.Namespace == "" {
		env.Namespace = events.DefaultNamespace
	}
	key := requestKey{env.WorkflowID, env.RequestID}
	if known, ok := e.requests[key]; ok && env.RequestID != "" {
		known.Duplicate = true
		return known, nil
	}
	answer, err := e.decide(env)
	if err == nil && answer.Code != events.OK {
		err = &events.Error{Code: answer.Code, Message: answer.Message, RunID: answer.RunID}
	}
	if err == nil && env.RequestID != "" {
		e.requests[key] = answer
	}
	return answer, err
}

func (e *Env) decide(env events.Envelope) (events.Answer, error) {
	if start, ok := env.Command.(events.StartWorkflow); ok {
		return e.start(env, start)
	}
	r := e.newest[env.WorkflowID]
	if !env.RunID.IsZero() {
		r = e.runs[env.RunID]
	}
	if r == nil {
		return events.Answer{}, &events.Error{Code: events.NotFound, Message: fmt.Sprintf("there is no run of workflow %q", env.WorkflowID)}
	}
	evs, answer := r.state.Decide(env, e.now)
	e.record(r, evs)
	return answer, nil
}

func (e *Env) start(env events.Envelope, c events.StartWorkflow) (events.Answer, error) {
	if !offers(e.registry.Workflows(), string(c.Type)) {
		return events.Answer{}, &events.Error{Code: events.NotImplemented, Message: fmt.Sprintf(
			"flowtest: workflow %q has no binding; give its With(…) to flowtest.New", c.Type,
		)}
	}
	var open *machine.Run
	var known *machine.KnownRun
	newest := e.newest[env.WorkflowID]
	if newest != nil {
		known = &machine.KnownRun{RunID: newest.ref.RunID, Status: newest.status}
		if newest.status.Open() {
			open = newest.state
		}
	}
	d := machine.Start(env, e.now, open, known)
	if len(d.Terminate) > 0 {
		e.record(newest, d.Terminate)
	}
	if len(d.Begin) > 0 {
		r := &run{
			ref: flow.RunRef{WorkflowID: env.WorkflowID, RunID: env.RunID}, typ: c.Type,
			views: map[events.ViewName]events.Payload{}, timers: map[events.TimerID]*item{},
		}
		r.state = machine.NewRun(events.Header{Namespace: env.Namespace, WorkflowID: env.WorkflowID, RunID: env.RunID})
		e.runs[env.RunID], e.newest[env.WorkflowID], e.order = r, r, append(e.order, r)
		e.record(r, d.Begin)
	}
	return d.Answer, nil
}

func offers(list []flow.Offer, name string) bool {
	for _, o := range list {
		if o.Name == name {
			return true
		}
	}
	return false
}

// View returns what a run published.
func (e *Env) View(ctx context.Context, ref flow.RunRef, name events.ViewName) (events.Payload, error) {
	if err := ctx.Err(); err != nil {
		return events.Payload{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.find(ref)
	if err != nil {
		return events.Payload{}, err
	}
	p, ok := r.views[name]
	if !ok {
		return p, &events.Error{Code: events.ViewNotFound, Message: fmt.Sprintf("the run of workflow %q has not set view %q", ref.WorkflowID, name), RunID: r.ref.RunID}
	}
	return p, nil
}

func (e *Env) find(ref flow.RunRef) (*run, error) {
	r := e.newest[ref.WorkflowID]
	if !ref.RunID.IsZero() {
		r = e.runs[ref.RunID]
	}
	if r == nil {
		return nil, &events.Error{Code: events.NotFound, Message: fmt.Sprintf("there is no run of workflow %q", ref.WorkflowID)}
	}
	return r, nil
}

// StartAndWait starts a run and waits for its end as Result does.
func (e *Env) StartAndWait(ctx context.Context, start events.Envelope) (events.Answer, flow.Outcome, error) {
	answer, err := e.Do(ctx, start)
	if err != nil {
		return answer, flow.Outcome{}, err
	}
	outcome, err := e.Result(ctx, flow.RunRef{WorkflowID: start.WorkflowID, RunID: answer.RunID})
	return answer, outcome, err
}

// patience is how long Result waits, in real time, for something to happen that the test's clock cannot bring about.
const patience = time.Second

// Result waits for the end of a run. While the run waits for time alone, the clock is advanced. When it waits for
// something that nobody does, the error says what that is.
func (e *Env) Result(ctx context.Context, ref flow.RunRef) (flow.Outcome, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		e.work()
		r, err := e.find(ref)
		switch {
		case err != nil:
			return flow.Outcome{}, err
		case !r.status.Open():
			return r.outcome, nil
		case r.broken != nil:
			return flow.Outcome{}, r.broken
		case ctx.Err() != nil:
			return flow.Outcome{}, ctx.Err()
		case !e.working && len(e.attempts) == 0 && e.timeline.len() > 0:
			e.advanceTo(e.timeline.first().due)
			continue
		}
		if !e.wait(ctx) && len(e.attempts) == 0 {
			return flow.Outcome{}, fmt.Errorf("flowtest: the run of workflow %q does not end: %s", ref.WorkflowID, e.waitsFor(r))
		}
	}
}

// wait gives the lock away until something has happened. False means that nothing did for a while.
func (e *Env) wait(ctx context.Context) bool {
	changed := e.changed
	e.mu.Unlock()
	defer e.mu.Lock()
	timer := time.NewTimer(patience) //nolint:forbidigo // it bounds what the test waits for in real time
	defer timer.Stop()
	select {
	case <-changed:
	case <-ctx.Done():
	case <-timer.C:
		return false
	}
	return true
}

// signalChange wakes those who wait.
func (e *Env) signalChange() {
	close(e.changed)
	e.changed = make(chan struct{})
}
