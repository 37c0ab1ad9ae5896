package replay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Mismatch says that workflow code does not do what it did before: it was changed in a way that its open runs cannot
// follow, or it depends on something that is not recorded (the clock, a random number, a map's order, a global).
type Mismatch struct {
	// Position is the number of the first event in the history that does not fit.
	Position events.EventNumber
	// Wanted is what the history has there, Found what the code did instead.
	Wanted string
	Found  string
	// Lines are the source lines of the code's call, innermost first; when the code waits, those of its waiting fibers.
	Lines []string
}

// Error names position, wanted and found call, and the source lines.
func (m *Mismatch) Error() string {
	s := fmt.Sprintf("the workflow's code does not fit its history: at event %d the history has %s, but the code made %s",
		m.Position, m.Wanted, m.Found)
	if len(m.Lines) > 0 {
		s += "\n\tat " + strings.Join(m.Lines, "\n\tat ")
	}
	return s
}

// Panic is a panic of workflow code.
type Panic struct {
	Value string
	// Lines are the source lines of user code, innermost first.
	Lines []string
	Stack string
}

// Error returns the value and the innermost line.
func (p *Panic) Error() string {
	s := "the workflow's code panicked: " + p.Value
	if len(p.Lines) > 0 {
		s += " at " + p.Lines[0]
	}
	return s
}

// Misuse says that workflow code used its context where it must not.
type Misuse struct {
	Reason string
	Lines  []string
}

// Error returns the reason and the source lines.
func (m *Misuse) Error() string {
	if len(m.Lines) == 0 {
		return m.Reason
	}
	return m.Reason + "\n\tat " + strings.Join(m.Lines, "\n\tat ")
}

// ContinuePending says that the code wanted to begin again while calls were open.
type ContinuePending struct {
	Calls int
	First string
}

// Error counts the calls and names the first.
func (c *ContinuePending) Error() string {
	return fmt.Sprintf("the workflow continues while %d of its calls are open, the first is %s: await or cancel them before",
		c.Calls, c.First)
}

// Failure returns what the engine is told about an error that kept code from running: of Activate, StepsDone or the driver's
// own.
func Failure(err error) events.Failure {
	f := events.Failure{Code: events.CodeWorkflowFailed, Message: err.Error(), Type: fmt.Sprintf("%T", err)}
	var (
		mismatch *Mismatch
		panicked *Panic
		misuse   *Misuse
		pending  *ContinuePending
		coded    interface{ FailureCode() string }
		given    *events.Failure
		refused  *events.Error
	)
	switch {
	case errors.As(err, &mismatch), errors.As(err, &misuse):
		f.Code = events.CodeNonDeterministic
	case errors.As(err, &panicked):
		f.Code = events.CodeWorkflowPanicked
		f.Message += "\n" + panicked.Stack
	case errors.As(err, &pending):
		f.Code = events.CodeContinuePending
	case errors.As(err, &coded):
		f.Code = coded.FailureCode()
	case errors.As(err, &given):
		return *given
	case errors.As(err, &refused):
		f.Code = string(refused.Code)
	}
	return *events.ClipFailure(&f)
}

// intend makes an intent of the code: it is compared with the history, or kept to be reported. With a fiber it may wait
// for the next phase first, and it does not return when the history has something else.
func (r *Run) intend(f *fiber, i events.Intent) {
	// A cancel never waits for a next page: one that comes too late leaves no event, so replay could not tell on which page
	// it was.
	if _, cancels := cancelled(i); !cancels {
		for f != nil && r.pageEnds() {
			r.nextPage(f)
		}
	}
	if !r.replaying {
		r.intents = append(r.intents, i)
		size := intentSize(i)
		r.sent += size
		if size > events.InlinePayloadBytes {
			size = blobRefBytes // it is kept elsewhere
		}
		r.size += size
		return
	}
	if r.matches(i) || mutant.On(mutant.MismatchIgnored) {
		return
	}
	next := numbered{number: r.after()}
	if r.cursor < len(r.expected) {
		next = r.expected[r.cursor]
	}
	err := r.mismatch(f, next, describeIntent(i))
	if f == nil {
		r.err = err
		return
	}
	r.abort(err)
}

// recorded returns what the history has next; nil when it has no more. Most calls of a replay are what is recorded: those need
// not be made intents first.
func (r *Run) recorded() events.Event {
	if !r.replaying || r.cursor == len(r.expected) {
		return nil
	}
	return r.expected[r.cursor].event
}

// after is the number of the event behind the phase's last.
func (r *Run) after() events.EventNumber {
	if n := len(r.expected); n > 0 {
		return r.expected[n-1].number + 1
	}
	return r.phase.progress + 1
}

// Bounds of one progress: beyond them the code goes on in a next one.
const (
	pageIntents = 1_000
	pageBytes   = 512 << 10 // of payloads in the record
	pageSent    = 1 << 20   // of payloads on the wire, where those that will be kept elsewhere count in full

	blobRefBytes = 128
)

// pageEnds reports whether the next intent belongs to a next progress. In replay that is where the recorded one ended.
func (r *Run) pageEnds() bool {
	if r.replaying {
		return r.cursor == len(r.expected) && r.phase.now
	}
	return len(r.intents) >= pageIntents || r.size >= pageBytes || r.sent >= pageSent
}

// intentSize is the size of an intent's payload.
func intentSize(i events.Intent) (n int) {
	switch i := i.(type) {
	case events.ScheduleTask:
		n = len(i.Input.Data)
	case events.RecordStep:
		n = len(i.Result.Data)
	case events.SetView:
		n = len(i.Value.Data)
	case events.BackOffStep:
		n = len(i.Failure.Message)
	case events.CompleteRun, events.FailRun, events.CancelRun, events.ContinueRun, events.CancelTask, events.CancelTimer, events.StartTimer:
	}
	return n
}

// nextPage makes a fiber wait for the next phase, in which it goes on first.
func (r *Run) nextPage(f *fiber) {
	r.paged = true
	r.queue = append([]*fiber{f}, r.queue...)
	f.park()
}

// matches compares an intent with the history and moves on. Payloads are not compared.
func (r *Run) matches(i events.Intent) bool {
	if _, continues := i.(events.ContinueRun); continues {
		for r.cursor < len(r.expected) { // the engine disarms open timers by itself
			if _, ok := r.expected[r.cursor].event.(events.TimerCancelled); !ok {
				break
			}
			r.cursor++
		}
	}
	if r.cursor < len(r.expected) && fits(i, r.expected[r.cursor].event) {
		r.cursor++
		return true
	}
	// A cancel that came too late left no event: what it cancelled had ended.
	step, cancels := cancelled(i)
	if !cancels {
		return false
	}
	ended := r.endedIn(step)
	return ended != 0 && ended < r.phase.progress
}

// cancelled returns the step that an intent gives up, if it does that.
func cancelled(i events.Intent) (events.Step, bool) {
	switch i := i.(type) {
	case events.CancelTask:
		return i.Step, true
	case events.CancelTimer:
		return i.Step, true
	default:
		return 0, false
	}
}

// fits reports whether e is the event of intent i.
func fits(i events.Intent, e events.Event) bool {
	switch i := i.(type) {
	case events.ScheduleTask:
		e, ok := e.(events.TaskScheduled)
		return ok && e.Step == i.Step && e.Name == i.Name
	case events.CancelTask:
		e, ok := e.(events.TaskCancelled)
		return ok && e.Step == i.Step
	case events.StartTimer:
		e, ok := e.(events.TimerStarted)
		return ok && e.Step == i.Step && e.Due == i.Due
	case events.CancelTimer:
		e, ok := e.(events.TimerCancelled)
		return ok && e.Step == i.Step
	case events.SetView:
		e, ok := e.(events.ViewSet)
		return ok && e.Name == i.Name
	case events.CompleteRun:
		_, ok := e.(events.RunCompleted)
		return ok
	case events.FailRun:
		_, ok := e.(events.RunFailed)
		return ok
	case events.CancelRun:
		_, ok := e.(events.RunCancelled)
		return ok
	case events.ContinueRun:
		_, ok := e.(events.RunContinued)
		return ok
	case events.RecordStep, events.BackOffStep:
		return false // given to the code, never made by it
	}
	return false
}

// mismatch describes what does not fit. Without found the code waits, or has ended.
func (r *Run) mismatch(f *fiber, next numbered, found string) *Mismatch {
	m := &Mismatch{Position: next.number, Wanted: describeEvent(next.event), Found: found}
	switch {
	case f != nil:
		m.Lines = f.lines()
	case found != "":
	case r.ended:
		m.Found = "the end of the run"
	default:
		m.Found = "no call and waits"
		for _, f := range r.fibers {
			m.Lines = append(m.Lines, f.lines()...)
		}
	}
	if len(m.Lines) > maxLines {
		m.Lines = m.Lines[:maxLines]
	}
	return m
}

func (r *Run) endedEarly(p phase) error {
	return &Mismatch{Position: p.progress, Wanted: "further progress", Found: "the end of the run"}
}

func describeIntent(i events.Intent) string {
	switch i := i.(type) {
	case events.ScheduleTask:
		return fmt.Sprintf("a call of task %q (step %d)", i.Name, i.Step)
	case events.CancelTask:
		return fmt.Sprintf("the cancelling of the task of step %d", i.Step)
	case events.StartTimer:
		return describeTimer(i.Step, i.Due)
	case events.CancelTimer:
		return fmt.Sprintf("the cancelling of the timer of step %d", i.Step)
	case events.RecordStep:
		return fmt.Sprintf("the end of step %q (step %d)", i.Label, i.Step)
	case events.BackOffStep:
		return fmt.Sprintf("the back-off of step %q (step %d)", i.Label, i.Step)
	case events.SetView:
		return fmt.Sprintf("the setting of view %q", i.Name)
	case events.CompleteRun:
		return "the end of the run: completed"
	case events.FailRun:
		return "the end of the run: failed: " + i.Failure.Message
	case events.CancelRun:
		return "the end of the run: cancelled"
	case events.ContinueRun:
		return "a continuation of the run"
	}
	return fmt.Sprintf("%T", i)
}

func describeEvent(e events.Event) string {
	switch e := e.(type) {
	case nil:
		return "nothing more"
	case events.TaskScheduled:
		return describeIntent(events.ScheduleTask{Step: e.Step, Name: e.Name})
	case events.TaskCancelled:
		return describeIntent(events.CancelTask{Step: e.Step})
	case events.TimerStarted:
		return describeTimer(e.Step, e.Due)
	case events.TimerCancelled:
		return describeIntent(events.CancelTimer(e))
	case events.StepRecorded:
		return describeIntent(events.RecordStep{Step: e.Step, Label: e.Label})
	case events.StepBackedOff:
		return describeIntent(events.BackOffStep{Step: e.Step, Label: e.Label})
	case events.ViewSet:
		return describeIntent(events.SetView{Name: e.Name})
	case events.RunCompleted:
		return describeIntent(events.CompleteRun{})
	case events.RunFailed:
		return describeIntent(events.FailRun{Failure: e.Failure})
	case events.RunCancelled:
		return describeIntent(events.CancelRun{})
	case events.RunContinued:
		return describeIntent(events.ContinueRun{})
	default:
		return fmt.Sprintf("%T", e)
	}
}

func describeTimer(s events.Step, due events.Time) string {
	return fmt.Sprintf("a timer for %s (step %d)", due.Std().Format("2006-01-02T15:04:05.999999Z"), s)
}
