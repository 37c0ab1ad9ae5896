package replay

import (
	"errors"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Errors that are part of the contract between a run, its driver and workflow code.
var (
	// ErrNotLive is returned by Activate when the run cannot go on from memory: the driver closes it and makes a new one
	// with the full history.
	ErrNotLive = errors.New("the run is not live here at the activation's base; it needs a full replay")
	// ErrDead is what calls of workflow code get after the run was closed: by eviction, a mismatch or a panic. They have
	// no effect.
	ErrDead = errors.New("flow: the run is no longer live in this worker; the call had no effect")
	// ErrCancelled is what waiting calls get when their context was cancelled.
	ErrCancelled = errors.New("flow: cancelled")
	// ErrTimeout is what waiting calls get when the time of their context is over.
	ErrTimeout = errors.New("flow: timeout")
)

// Options describe a run to its runtime.
type Options struct {
	RunID events.RunID
	// Main is the workflow's code. It runs on the first fiber and returns the intent that ends the run or continues it.
	Main func(r *Run, input events.Payload) events.Intent
	// Threads lend the run's fibers their goroutines; nil means that each has one of its own.
	Threads *Threads
	// Unguarded leaves out what is looked at on the stack in every call of workflow code: whether the calling goroutine is the
	// run's, whether it panics, and where it is, for errors and for [Run.Blocked]. For code that is known to keep to the rules.
	Unguarded bool
}

// Activation is the order to let the code go on.
type Activation struct {
	Number  uint64
	Attempt events.Attempt
	// At is the time to show: that of the record that scheduled the activation.
	At events.Time
	// Base, ReplayFrom and Upto are those of the ActivationScheduled event.
	Base       events.EventNumber
	ReplayFrom events.EventNumber
	Upto       events.EventNumber
	// Records hold the events to give to the code; what they hold beyond Upto is ignored. For a new run they are complete
	// from ReplayFrom on, and before that hold the signals that had not been read. For a live run they are complete
	// from the event after its last Upto on, so that the ProgressMade of its last report is among them; or there are none,
	// which says that nothing of events.LiveEvents has happened since and that the ProgressMade is that of BaseActivation.
	Records []*events.Record
	// BaseActivation and BaseAttempt made the base; 0 when that is to be seen in the records.
	BaseActivation uint64
	BaseAttempt    events.Attempt
}

// Turn is what comes out of letting the code run until it waits.
type Turn struct {
	// Progress answers the activation. It lacks the worker and the build only. Nil when steps must end first: the driver
	// calls StepsDone when one has.
	Progress *events.ReportProgress
	// Ended tells that the progress ends or continues the run: this Run is over and to be closed.
	Ended bool
	// Start are steps to begin now. Each is given once. The list is valid until the next call.
	Start []StepCall
	// Stop are running steps nobody waits for any more: their outcome is not needed.
	Stop []events.Step
}

// Run is the code of one workflow run, live in memory. It is not safe for concurrent use, except for Blocked.
type Run struct {
	opts  Options
	input events.Payload
	begun bool // the first history was given
	ended bool // the code has ended or continued the run
	dead  bool // closed: what still runs emits nothing
	err   error

	at         events.Time // shown now
	shown      events.Time // shown when the phase began
	upto       events.EventNumber
	generation events.EventNumber
	lastStep   events.Step
	unique     uint64
	index      uint64 // counts ends of futures
	bytes      int

	root            Scope
	cancelRequested bool
	cancels         []pendingCancel
	steps           openSteps
	wanted          []*Future  // steps to be executed, in order of their calls or of becoming due
	starts          []StepCall // room for those of a turn
	executing       int
	stop            []events.Step
	inboxes         []*inbox // by name

	fibers  []*fiber
	few     [4]*fiber // room for short fibers
	queue   []*fiber
	room    [2]*fiber // for a short queue
	current *fiber
	paged   bool

	// What other goroutines may look at. Who has put a value into lock has the lock.
	lock   chan struct{}
	misuse *Misuse    // the first one that was not told yet
	known  []threadOf // where the living fibers run

	activation uint64
	attempt    events.Attempt
	intents    []events.Intent
	size       int // of the payloads in intents, as far as they are kept in the record
	sent       int // of the payloads in intents
	replaying  bool
	expected   []numbered
	cursor     int
	phase      phase
	given      []numbered                         // while a history is replayed: all its inputs
	endOf      map[events.Step]events.EventNumber // made of given when it is first needed
}

// New returns a run that waits for its first activation. It has no goroutine yet.
func New(opts Options) *Run {
	r := &Run{opts: opts, lock: make(chan struct{}, 1)}
	r.root.run = r
	r.fibers, r.queue = r.few[:0], r.room[:0]
	return r
}

// Activate gives the code the events of an activation and lets it run until it waits. A new run replays first. After any
// error but [ErrNotLive] the run is closed; [Failure] turns the error into what the engine is told.
func (r *Run) Activate(a Activation) (Turn, error) {
	switch {
	case r.err != nil:
		return Turn{}, r.err
	case r.ended || r.dead:
		return Turn{}, ErrNotLive
	}
	var h history
	var err error
	if r.begun {
		h, err = r.delta(a)
	} else if h, err = parse(a.Records, a.ReplayFrom, a.Upto); err == nil {
		h.inputs, err = r.replay(h)
	}
	if errors.Is(err, ErrNotLive) {
		return Turn{}, err
	}
	if err != nil {
		return Turn{}, r.fail(err)
	}
	if r.ended {
		return Turn{}, r.fail(&HistoryError{Reason: "the code has ended the run, and yet it was activated"})
	}
	r.activation, r.attempt = a.Number, a.Attempt
	r.begin(phase{at: a.At, upto: a.Upto}, false)
	r.deliver(h.inputs, h.from)
	return r.turn()
}

// StepsDone gives the outcomes of executed steps to the code, in this order, and lets it run on after each. Outcomes of
// steps that were stopped are ignored.
func (r *Run) StepsDone(outcomes ...StepOutcome) (Turn, error) {
	if r.err != nil {
		return Turn{}, r.err
	}
	for _, o := range outcomes {
		f := r.steps.get(o.Step)
		if f == nil || f.kind != kindStep || f.state != stepExecuting {
			continue
		}
		r.executing--
		r.intend(nil, o.intent(f.name))
		r.stepOutcome(f, o)
		r.drain()
		if r.err != nil || r.ended {
			break
		}
	}
	return r.turn()
}

// turn lets the code run and says what is to be done.
func (r *Run) turn() (Turn, error) {
	r.drain()
	if err := r.trouble(); err != nil {
		return Turn{}, r.fail(err)
	}
	stop := r.stop
	r.stop = nil
	clear(r.starts)
	switch {
	case r.ended || len(r.intents) > 0:
	case len(r.wanted) > 0:
		t := Turn{Stop: stop, Start: r.starts[:0]}
		for _, f := range r.wanted {
			f.state = stepExecuting
			t.Start = append(t.Start, f.stepCall())
		}
		r.executing += len(r.wanted)
		r.starts = t.Start
		clear(r.wanted)
		r.wanted = r.wanted[:0]
		return t, nil
	case r.executing > 0:
		return Turn{Stop: stop}, nil
	}
	p := &events.ReportProgress{
		Activation: r.activation, Attempt: r.attempt, At: r.shown, Upto: r.upto, Reads: r.reads(), Intents: r.intents,
	}
	if !r.ended {
		p.Wait = r.waitSet()
	}
	r.intents, r.size, r.sent = nil, 0, 0
	return Turn{Progress: p, Ended: r.ended, Stop: stop}, nil
}

// trouble returns what went wrong while the code ran.
func (r *Run) trouble() error {
	if r.err != nil {
		return r.err
	}
	r.lock <- struct{}{}
	misuse := r.misuse
	r.misuse = nil
	<-r.lock
	if misuse != nil {
		return misuse
	}
	return nil
}

// fail closes the run for err and returns err.
func (r *Run) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	r.Close()
	return r.err
}

// begin starts a phase.
func (r *Run) begin(p phase, replaying bool) {
	r.phase, r.at, r.upto, r.replaying = p, max(r.at, p.at), p.upto, replaying
	r.shown = r.at
	r.expected, r.cursor, r.paged = p.intents, 0, false
}

// replay runs the phases of a history, from its beginning, and returns the inputs that came after the last.
func (r *Run) replay(h history) ([]numbered, error) {
	r.begun = true
	r.input, r.generation, r.lastStep, r.given = h.input, h.from, h.lastStep, h.inputs
	r.bytes += len(r.input.Data)
	for _, read := range h.reads {
		in := r.inbox(read.Name)
		in.taken, in.received = read.Count, read.Count
	}
	r.queue = append(r.queue, r.newFiber(nil))
	given := 0
	for _, p := range h.phases {
		if r.ended {
			return nil, r.endedEarly(p)
		}
		r.begin(p, true)
		until := given
		for until < len(h.inputs) && h.inputs[until].number <= p.upto {
			until++
		}
		r.deliver(h.inputs[given:until], h.from)
		given = until
		if err := r.replayPhase(); err != nil {
			return nil, err
		}
	}
	r.replaying, r.given, r.endOf = false, nil, nil
	return h.inputs[given:], nil
}

// replayPhase lets the code run through a recorded phase.
func (r *Run) replayPhase() error {
	for {
		r.drain()
		if err := r.trouble(); err != nil {
			return err
		}
		if r.cursor == len(r.expected) {
			return nil
		}
		next := r.expected[r.cursor]
		if r.ended || r.paged {
			return r.mismatch(nil, next, "")
		}
		o, ok := recordedOutcome(next.event)
		if !ok {
			return r.mismatch(nil, next, "")
		}
		f := r.steps.get(o.Step)
		if f == nil || f.kind != kindStep || f.state != stepWanted || f.name != o.label {
			return r.mismatch(nil, next, "")
		}
		r.cursor++
		r.wanted = slices.DeleteFunc(r.wanted, func(w *Future) bool { return w == f })
		r.stepOutcome(f, o.StepOutcome)
	}
}

// main is the first fiber.
func (r *Run) main(f *fiber) {
	intent := r.opts.Main(r, r.input)
	if r.dead {
		return
	}
	if _, continues := intent.(events.ContinueRun); continues {
		if n, what := r.openCalls(); n > 0 {
			r.abort(&ContinuePending{Calls: n, First: what})
		}
	}
	r.intend(f, intent)
	r.ended = true
}

// openCalls counts calls that Continue would abandon, and names the first.
func (r *Run) openCalls() (n int, what string) {
	for _, f := range r.steps.all() {
		if f.kind == kindTimer || f.kind == kindStep && f.state == stepBackingOff {
			continue
		}
		if n++; n == 1 {
			what = fmt.Sprintf("%s (step %d)", f.what(), f.step)
		}
	}
	return n, what
}

// Close ends all fibers of the run. Code that was deferred runs, with calls that have no effect and return [ErrDead]. When
// Close returns no fiber is left; it returns only when the deferred code has.
func (r *Run) Close() {
	r.dead = true
	r.queue, r.intents, r.wanted = nil, nil, nil
	for len(r.fibers) > 0 {
		f := r.fibers[len(r.fibers)-1]
		if f.thread == nil {
			r.forget(f)
			continue
		}
		r.resume(f)
	}
}

// ID returns the run's id.
func (r *Run) ID() events.RunID { return r.opts.RunID }

// Now returns the time shown to the code.
func (r *Run) Now() events.Time { return r.at }

// Replaying reports whether the code is doing again what it did before.
func (r *Run) Replaying() bool { return r.replaying || r.dead }

// Generation returns the number of the event that the code began with: 1, or that of the last RunContinued.
func (r *Run) Generation() events.EventNumber { return r.generation }

// Unique returns 1, 2, 3 … in the order in which the code asks.
func (r *Run) Unique() uint64 {
	r.unique++
	return r.unique
}

// CancelRequested reports whether the code has been told that the run is to cancel.
func (r *Run) CancelRequested() bool { return r.cancelRequested }

// Root returns the scope of the whole run.
func (r *Run) Root() *Scope { return &r.root }

// Fibers returns how many fibers the run has.
func (r *Run) Fibers() int { return len(r.fibers) }

// fiberBytes is what a waiting fiber costs: its stack and what the runtime keeps of it.
const fiberBytes = 8 << 10

// Bytes estimates the memory that the run holds: its fibers and the values that its code has not taken yet. What user
// code keeps on the heap is not known.
func (r *Run) Bytes() int { return r.bytes + len(r.fibers)*fiberBytes + r.steps.len()*256 }
