package events

import "google.golang.org/protobuf/encoding/protowire"

// The fields of events about runs, activations, signals and views. Events about tasks, timers and steps are in
// codec_work.go.

func (e *RunStarted) fields(c *coder) {
	text(c, 1, "type", &e.Type)
	text(c, 2, "queue", &e.Queue)
	c.payload(3, "input", &e.Input)
	c.span(4, "run_timeout", &e.RunTimeout)
	text(c, 5, "trace", &e.Trace)
}

func (e *ActivationScheduled) fields(c *coder) {
	number(c, 1, "activation", &e.Activation)
	number(c, 2, "attempt", &e.Attempt)
	text(c, 3, "type", &e.Type)
	text(c, 4, "queue", &e.Queue)
	number(c, 5, "base", &e.Base)
	number(c, 6, "replay_from", &e.ReplayFrom)
	number(c, 7, "upto", &e.Upto)
	c.instant(8, "not_before", &e.NotBefore)
	text(c, 9, "failed_build", &e.FailedBuild)
	fixed(c, 10, "offer_to", &e.OfferTo)
	c.instant(11, "offer_until", &e.OfferUntil)
	number(c, 12, "base_upto", &e.BaseUpto)
}

func (e *ProgressMade) fields(c *coder) {
	number(c, 1, "activation", &e.Activation)
	number(c, 2, "attempt", &e.Attempt)
	c.instant(3, "at", &e.At)
	number(c, 4, "upto", &e.Upto)
	c.signalReads(5, "reads", &e.Reads)
	c.waitSet(6, "wait", &e.Wait)
	text(c, 7, "build", &e.Build)
	text(c, 8, "worker", &e.Worker)
}

func (e *ProgressRefused) fields(c *coder) {
	number(c, 1, "activation", &e.Activation)
	number(c, 2, "attempt", &e.Attempt)
	text(c, 3, "worker", &e.Worker)
}

func (e *ActivationFailed) fields(c *coder) {
	number(c, 1, "activation", &e.Activation)
	number(c, 2, "attempt", &e.Attempt)
	c.failure(3, "failure", &e.Failure)
	text(c, 4, "build", &e.Build)
	text(c, 5, "worker", &e.Worker)
}

func (e *ActivationTimedOut) fields(c *coder) {
	number(c, 1, "activation", &e.Activation)
	number(c, 2, "attempt", &e.Attempt)
}

func (e *ViewSet) fields(c *coder) {
	text(c, 1, "name", &e.Name)
	c.payload(2, "value", &e.Value)
}

func (e *SignalReceived) fields(c *coder) {
	text(c, 1, "name", &e.Name)
	number(c, 2, "index", &e.Index)
	c.payload(3, "input", &e.Input)
	text(c, 4, "request_id", &e.RequestID)
}

func (e *CancelRequested) fields(c *coder) { text(c, 1, "reason", &e.Reason) }

func (e *RunContinued) fields(c *coder) {
	c.payload(1, "input", &e.Input)
	c.signalReads(2, "reads", &e.Reads)
	number(c, 3, "oldest_unread", &e.OldestUnread)
	number(c, 4, "last_step", &e.LastStep)
	c.flag(5, "cancel_requested", &e.CancelRequested)
}

func (e *RunCompleted) fields(c *coder) {
	c.payload(1, "result", &e.Result)
	number(c, 2, "unread", &e.Unread)
}

func (e *RunFailed) fields(c *coder) {
	c.failure(1, "failure", &e.Failure)
	number(c, 2, "unread", &e.Unread)
}

func (e *RunCancelled) fields(c *coder) {
	c.failure(1, "failure", &e.Failure)
	number(c, 2, "unread", &e.Unread)
}

func (e *RunTerminated) fields(c *coder)  { text(c, 1, "reason", &e.Reason) }
func (e *RunTimedOut) fields(*coder)      {}
func (e *RunQuarantined) fields(c *coder) { text(c, 1, "reason", &e.Reason) }
func (e *RunReleased) fields(c *coder)    { text(c, 1, "reason", &e.Reason) }
func (e *RunPurged) fields(*coder)        {}

func (e *EpochStarted) fields(c *coder) {
	number(c, 1, "partitions", &e.Partitions)
	text(c, 2, "cluster", &e.Cluster)
}

// appendEvent writes e as the one field of an Event message.
func (c *coder) appendEvent(e Event) {
	kind := EventKind(e)
	if kind == 0 {
		panic("events: encoding a nil Event")
	}
	m := c.openAppend(protowire.Number(kind), 0)
	c.eventFields(e)
	c.setLength(&m)
}

// eventFields writes the fields of e, in wire format or JSON.
func (c *coder) eventFields(e Event) {
	switch e := e.(type) {
	case RunStarted:
		e.fields(c)
	case ActivationScheduled:
		e.fields(c)
	case ProgressMade:
		e.fields(c)
	case ProgressRefused:
		e.fields(c)
	case ActivationFailed:
		e.fields(c)
	case ActivationTimedOut:
		e.fields(c)
	case TaskScheduled:
		e.fields(c)
	case TaskAttemptFailed:
		e.fields(c)
	case TaskCompleted:
		e.fields(c)
	case TaskFailed:
		e.fields(c)
	case TaskCancelled:
		e.fields(c)
	case HeartbeatRecorded:
		e.fields(c)
	case TimerStarted:
		e.fields(c)
	case TimerFired:
		e.fields(c)
	case TimerCancelled:
		e.fields(c)
	case StepRecorded:
		e.fields(c)
	case StepBackedOff:
		e.fields(c)
	case StepRetryDue:
		e.fields(c)
	case ViewSet:
		e.fields(c)
	case SignalReceived:
		e.fields(c)
	case CancelRequested:
		e.fields(c)
	case RunContinued:
		e.fields(c)
	case RunCompleted:
		e.fields(c)
	case RunFailed:
		e.fields(c)
	case RunCancelled:
		e.fields(c)
	case RunTerminated:
		e.fields(c)
	case RunTimedOut:
		e.fields(c)
	case RunQuarantined:
		e.fields(c)
	case RunReleased:
		e.fields(c)
	case RunPurged:
		e.fields(c)
	case EpochStarted:
		e.fields(c)
	}
}

// decodeEvent reads the Event message that m opens: exactly one kind.
func (c *coder) decodeEvent(m *message) Event {
	var e Event
	for c.in(m) {
		kind := c.num
		if e != nil {
			c.corrupt("an event has two kinds, one of them %d", kind)
			return nil
		}
		if !c.is(kind, protowire.BytesType) {
			return nil
		}
		if c.unwanted.has(int(kind)) {
			e = eventKinds[kind-1].Zero
			c.bytes()
			continue
		}
		inner := c.enter()
		if e = c.readEvent(int(kind), &inner); e == nil {
			c.fail(&UnknownKindError{What: "event", Kind: int(kind), Schema: c.schema})
		}
	}
	if e == nil && c.err == nil {
		c.corrupt("an event has no kind")
	}
	return e
}

// readEvent reads the fields of an event of a kind; nil if the kind is unknown.
func (c *coder) readEvent(kind int, m *message) Event {
	switch kind {
	case kindRunStarted:
		var e RunStarted
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindActivationScheduled:
		var e ActivationScheduled
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindProgressMade:
		var e ProgressMade
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindProgressRefused:
		var e ProgressRefused
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindActivationFailed:
		var e ActivationFailed
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindActivationTimedOut:
		var e ActivationTimedOut
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindViewSet:
		var e ViewSet
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindSignalReceived:
		var e SignalReceived
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindCancelRequested:
		var e CancelRequested
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindEpochStarted:
		var e EpochStarted
		for c.in(m) {
			e.fields(c)
		}
		return e
	default:
		if e := c.readRunEvent(kind, m); e != nil {
			return e
		}
		return c.readWorkEvent(kind, m)
	}
}

func (c *coder) readRunEvent(kind int, m *message) Event {
	switch kind {
	case kindRunContinued:
		var e RunContinued
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunCompleted:
		var e RunCompleted
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunFailed:
		var e RunFailed
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunCancelled:
		var e RunCancelled
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunTerminated:
		var e RunTerminated
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunTimedOut:
		var e RunTimedOut
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunQuarantined:
		var e RunQuarantined
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunReleased:
		var e RunReleased
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindRunPurged:
		var e RunPurged
		for c.in(m) {
			e.fields(c)
		}
		return e
	default:
		return nil
	}
}
