package events

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Limits of commands at the edge.
const (
	// MaxReasonBytes bounds the reason of a cancel, terminate or release.
	MaxReasonBytes = 4 << 10
	// MaxIntents bounds the intents of one progress.
	MaxIntents = 10_000
	// MaxWaits bounds the groups of a wait set, and the steps and signals of each group.
	MaxWaits = 10_000
	// MaxInlineBytes bounds the inline payloads and failures of one command together, so that the records it leads to stay
	// within [MaxRecordBytes].
	MaxInlineBytes = 768 << 10
	// MaxEncodingBytes bounds the name of a payload's encoding.
	MaxEncodingBytes = 64
	// MaxNonRetryableCodes bounds the list of codes in a retry policy.
	MaxNonRetryableCodes = 100
)

// Validate reports why the engine must not be given the command: ids and names that break their rules (code bad_id),
// payloads that are too large to be kept inline (payload_too_large), and everything else that is out of bounds
// (invalid_argument). The error is an [*Error]. Defaults are not filled in: an empty task queue of a start is an error.
//
// It is to be called once at the edge, after payloads above [InlinePayloadBytes] were spilled to blobs and failures were
// cut by [ClipFailure]. What the engine knows alone, such as whether the run exists, is not looked at.
func (e *Envelope) Validate() error {
	v := validator{}
	v.id(e.Namespace.Validate())
	v.id(e.WorkflowID.Validate())
	v.id(e.RequestID.Validate())
	v.command(e)
	if v.err == nil && v.inline > MaxInlineBytes {
		v.fail(PayloadTooLarge, "the command has %d bytes of payloads; the limit is %d: make values smaller or spread them over several calls", v.inline, MaxInlineBytes)
	}
	if v.err == nil {
		return nil
	}
	return v.err
}

// validator keeps the first thing that is wrong.
type validator struct {
	err    *Error
	inline int
}

func (v *validator) fail(code Code, format string, args ...any) {
	if v.err == nil {
		v.err = &Error{Code: code, Message: fmt.Sprintf(format, args...)}
	}
}

func (v *validator) id(err error) {
	if err != nil {
		v.fail(BadIDCode, "%s", err)
	}
}

func (v *validator) command(e *Envelope) {
	switch c := e.Command.(type) {
	case StartWorkflow:
		if e.RunID.IsZero() {
			v.fail(InvalidArgument, "a start has no run id; make one with MakeRunID")
		}
		v.start(&c)
	case SignalWorkflow:
		v.id(c.Name.Validate())
		v.payload("signal input", &c.Input)
	case CancelWorkflow:
		v.text("reason", c.Reason, MaxReasonBytes)
	case TerminateWorkflow:
		v.text("reason", c.Reason, MaxReasonBytes)
	case ReleaseRun:
		v.text("reason", c.Reason, MaxReasonBytes)
	case GetRun:
	case ReportProgress:
		v.progress(&c)
	case FailActivation:
		v.failure(&c.Failure)
		v.text("build", string(c.Build), MaxNameBytes)
		v.text("worker", string(c.Worker), MaxNameBytes)
	case TimeoutActivation:
	case CompleteTask:
		v.attempt(c.Step, c.Attempt, c.Worker)
		v.payload("task result", &c.Result)
	case FailTask:
		v.attempt(c.Step, c.Attempt, c.Worker)
		v.failure(&c.Failure)
	case TimeoutTask:
		v.attempt(c.Step, c.Attempt, c.Worker)
		v.timeoutCode(c.Code)
		v.payload("heartbeat details", &c.Details)
	case RecordHeartbeat:
		v.attempt(c.Step, c.Attempt, "")
		v.payload("heartbeat details", &c.Details)
	case FireTimer:
		if c.Timer.Kind < TimerSleep || c.Timer.Kind > TimerRunTimeout {
			v.fail(InvalidArgument, "timer kind %d is unknown", c.Timer.Kind)
		}
	case nil:
		v.fail(InvalidArgument, "the envelope has no command")
	}
}

func (v *validator) start(c *StartWorkflow) {
	v.id(c.Type.Validate())
	v.id(c.Queue.Validate())
	v.payload("workflow input", &c.Input)
	if c.IDPolicy > IDRejectAny {
		v.fail(InvalidArgument, "id policy %d is unknown; the last is %d", c.IDPolicy, IDRejectAny)
	}
	v.notNegative("run timeout", c.RunTimeout)
	if !c.Trace.Valid() {
		v.fail(InvalidArgument, "the trace is no W3C traceparent")
	}
}

func (v *validator) attempt(s Step, a Attempt, w WorkerID) {
	v.step(s)
	if a == 0 {
		v.fail(InvalidArgument, "attempt 0: attempts count from 1")
	}
	v.text("worker", string(w), MaxNameBytes)
}

func (v *validator) step(s Step) {
	if s == 0 {
		v.fail(InvalidArgument, "step 0: steps count from 1")
	}
}

func (v *validator) timeoutCode(code string) {
	switch code {
	case CodeStartToClose, CodeHeartbeatTimeout, CodeWorkerLost:
	default:
		v.fail(InvalidArgument, "timeout code %.60q is not one of %s, %s and %s", code, CodeStartToClose, CodeHeartbeatTimeout, CodeWorkerLost)
	}
}

func (v *validator) notNegative(what string, d time.Duration) {
	if d < 0 {
		v.fail(InvalidArgument, "the %s is %v; it must not be negative, and 0 means the default", what, d)
	}
}

func (v *validator) text(what, s string, limit int) {
	if len(s) > limit {
		v.fail(InvalidArgument, "the %s has %d bytes; the limit is %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		v.fail(InvalidArgument, "the %s %.60q is not valid UTF-8", what, s)
	}
}

func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

func (v *validator) payload(what string, p *Payload) {
	if !isText(p.Encoding, MaxEncodingBytes) {
		v.text("encoding of the "+what, p.Encoding, MaxEncodingBytes)
	}
	if !isText(p.Blob, 4*MaxIDBytes) {
		v.text("blob key of the "+what, p.Blob, 4*MaxIDBytes)
	}
	v.inline += len(p.Data)
	switch {
	case p.Blob != "" && (len(p.Data) > 0 || p.BlobBytes <= 0):
		v.fail(InvalidArgument, "the %s in blob %.60q has %d inline bytes and a size of %d; it needs none and a size above 0",
			what, p.Blob, len(p.Data), p.BlobBytes)
	case p.Blob == "" && p.BlobBytes != 0:
		v.fail(InvalidArgument, "the %s has a blob size and no blob", what)
	case len(p.Data) > InlinePayloadBytes:
		v.fail(PayloadTooLarge, "the %s has %d bytes; the limit inline is %d: spill it to a blob", what, len(p.Data), InlinePayloadBytes)
	case len(p.Data) > 0 && p.Encoding == "":
		v.fail(InvalidArgument, "the %s has %d bytes and no encoding", what, len(p.Data))
	}
}

func (v *validator) failure(f *Failure) {
	if clipped := ClipFailure(f); clipped != f {
		v.fail(InvalidArgument, "the failure with code %.60q is above its limits or not valid UTF-8; cut it with ClipFailure", f.Code)
		return
	}
	for ; f != nil; f = f.Cause {
		v.inline += len(f.Message)
		v.payload("failure details", &f.Details)
	}
}

func (v *validator) progress(c *ReportProgress) {
	v.text("build", string(c.Build), MaxNameBytes)
	v.text("worker", string(c.Worker), MaxNameBytes)
	if c.Attempt == 0 {
		v.fail(InvalidArgument, "attempt 0: attempts count from 1")
	}
	if len(c.Intents) > MaxIntents || len(c.Reads) > MaxIntents {
		v.fail(InvalidArgument, "a progress of %d intents and %d signal names; the limit of each is %d", len(c.Intents), len(c.Reads), MaxIntents)
		return
	}
	for _, r := range c.Reads {
		v.id(r.Name.Validate())
	}
	v.waitSet(&c.Wait)
	for i, intent := range c.Intents {
		v.intent(intent)
		if i < len(c.Intents)-1 && endsActivation(intent) {
			v.fail(InvalidArgument, "%s is intent %d of %d; it must be the last", IntentName(intent), i+1, len(c.Intents))
		}
		if v.err != nil {
			return
		}
	}
}

// endsActivation reports whether nothing may follow the intent.
func endsActivation(i Intent) bool {
	switch i.(type) {
	case CompleteRun, FailRun, CancelRun, ContinueRun:
		return true
	case ScheduleTask, CancelTask, StartTimer, CancelTimer, RecordStep, BackOffStep, SetView:
		return false
	}
	return false
}

func (v *validator) waitSet(w *WaitSet) {
	if len(w.Any) > MaxWaits {
		v.fail(InvalidArgument, "a wait set of %d groups; the limit is %d", len(w.Any), MaxWaits)
		return
	}
	for _, g := range w.Any {
		if len(g.Steps) > MaxWaits || len(g.Signals) > MaxWaits {
			v.fail(InvalidArgument, "a group of %d steps and %d signals to wait for; the limit of each is %d", len(g.Steps), len(g.Signals), MaxWaits)
			return
		}
		for _, s := range g.Steps {
			v.step(s)
		}
		for _, s := range g.Signals {
			v.id(s.Name.Validate())
			if s.Index == 0 {
				v.fail(InvalidArgument, "waiting for signal 0 of %s: signals count from 1", s.Name)
			}
		}
	}
}

func (v *validator) intent(i Intent) {
	switch i := i.(type) {
	case ScheduleTask:
		v.step(i.Step)
		v.id(i.Name.Validate())
		if i.Queue != "" {
			v.id(i.Queue.Validate())
		}
		v.payload("task input", &i.Input)
		if err := i.Options.Validate(); err != nil {
			v.fail(InvalidArgument, "task %s: %s", i.Name, err)
		}
	case CancelTask:
		v.step(i.Step)
	case StartTimer:
		v.step(i.Step)
	case CancelTimer:
		v.step(i.Step)
	case RecordStep:
		v.step(i.Step)
		v.text("label", i.Label, MaxNameBytes)
		v.payload("step result", &i.Result)
		if i.Failure != nil {
			v.failure(i.Failure)
		}
	case BackOffStep:
		v.step(i.Step)
		v.text("label", i.Label, MaxNameBytes)
		v.failure(&i.Failure)
	case SetView:
		v.id(i.Name.Validate())
		v.payload("view", &i.Value)
	case CompleteRun:
		v.payload("workflow result", &i.Result)
	case FailRun:
		v.failure(&i.Failure)
	case CancelRun:
		v.failure(&i.Failure)
	case ContinueRun:
		v.payload("new input", &i.Input)
	case nil:
		v.fail(InvalidArgument, "an intent is nil")
	}
}

// Validate reports the first limit that is negative, and what is wrong with the retry policy.
func (o *TaskOptions) Validate() error {
	limits := [...]struct {
		name string
		d    time.Duration
	}{
		{"start-to-close timeout", o.StartToClose},
		{"heartbeat timeout", o.Heartbeat},
		{"schedule-to-start timeout", o.ScheduleToStart},
		{"schedule-to-close timeout", o.ScheduleToClose},
	}
	for _, l := range limits {
		if l.d < 0 {
			return fmt.Errorf("the %s is %v; it must not be negative, and 0 means the default", l.name, l.d)
		}
	}
	return o.Retry.Validate()
}

// Validate reports delays that are negative, a factor below 1 or not a number, and too many or too long codes.
func (p *RetryPolicy) Validate() error {
	switch {
	case p.Initial < 0:
		return fmt.Errorf("the initial delay of a retry is %v; it must not be negative, and 0 means %v", p.Initial, DefaultRetryInitial)
	case p.Max < 0:
		return fmt.Errorf("the longest delay of a retry is %v; it must not be negative, and 0 means %v", p.Max, DefaultRetryMax)
	case p.Factor != 0 && !(p.Factor >= 1 && p.Factor <= math.MaxFloat64):
		return fmt.Errorf("the factor of a retry is %v; it must be a finite number from 1, and 0 means %v", p.Factor, DefaultRetryFactor)
	case len(p.NonRetryable) > MaxNonRetryableCodes:
		return fmt.Errorf("%d codes end the retries; the limit is %d", len(p.NonRetryable), MaxNonRetryableCodes)
	}
	for _, code := range p.NonRetryable {
		if code == "" || len(code) > MaxNameBytes || !utf8.ValidString(code) {
			return fmt.Errorf("the code %.60q that ends the retries is not 1 to %d bytes of UTF-8", code, MaxNameBytes)
		}
	}
	return nil
}
