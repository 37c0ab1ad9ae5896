package events

import "google.golang.org/protobuf/encoding/protowire"

// The fields of commands.

func (m *StartWorkflow) fields(c *coder) {
	text(c, 1, "type", &m.Type)
	text(c, 2, "queue", &m.Queue)
	c.payload(3, "input", &m.Input)
	number(c, 4, "id_policy", &m.IDPolicy)
	c.span(5, "run_timeout", &m.RunTimeout)
	text(c, 6, "trace", &m.Trace)
}

func (m *SignalWorkflow) fields(c *coder) {
	text(c, 1, "name", &m.Name)
	c.payload(2, "input", &m.Input)
}

func (m *CancelWorkflow) fields(c *coder)    { text(c, 1, "reason", &m.Reason) }
func (m *TerminateWorkflow) fields(c *coder) { text(c, 1, "reason", &m.Reason) }
func (m *GetRun) fields(*coder)              {}
func (m *ReleaseRun) fields(c *coder)        { text(c, 1, "reason", &m.Reason) }

func (m *ReportProgress) fields(c *coder) {
	number(c, 1, "activation", &m.Activation)
	number(c, 2, "attempt", &m.Attempt)
	c.instant(3, "at", &m.At)
	number(c, 4, "upto", &m.Upto)
	c.signalReads(5, "reads", &m.Reads)
	c.waitSet(6, "wait", &m.Wait)
	c.intents(7, "intents", &m.Intents)
	text(c, 8, "build", &m.Build)
	text(c, 9, "worker", &m.Worker)
	c.flag(10, "offer_activation", &m.OfferActivation)
	c.flag(11, "offer_task", &m.OfferTask)
}

func (m *FailActivation) fields(c *coder) {
	number(c, 1, "activation", &m.Activation)
	number(c, 2, "attempt", &m.Attempt)
	c.failure(3, "failure", &m.Failure)
	text(c, 4, "build", &m.Build)
	text(c, 5, "worker", &m.Worker)
}

func (m *TimeoutActivation) fields(c *coder) {
	number(c, 1, "activation", &m.Activation)
	number(c, 2, "attempt", &m.Attempt)
}

func (m *CompleteTask) fields(c *coder) {
	number(c, 1, "step", &m.Step)
	number(c, 2, "attempt", &m.Attempt)
	c.payload(3, "result", &m.Result)
	text(c, 4, "worker", &m.Worker)
}

func (m *FailTask) fields(c *coder) {
	number(c, 1, "step", &m.Step)
	number(c, 2, "attempt", &m.Attempt)
	c.failure(3, "failure", &m.Failure)
	c.signedSpan(4, "retry_after", &m.RetryAfter)
	text(c, 5, "worker", &m.Worker)
}

func (m *TimeoutTask) fields(c *coder) {
	number(c, 1, "step", &m.Step)
	number(c, 2, "attempt", &m.Attempt)
	text(c, 3, "code", &m.Code)
	c.payload(4, "details", &m.Details)
	text(c, 5, "worker", &m.Worker)
}

func (m *RecordHeartbeat) fields(c *coder) {
	number(c, 1, "step", &m.Step)
	number(c, 2, "attempt", &m.Attempt)
	c.payload(3, "details", &m.Details)
}

func (m *FireTimer) fields(c *coder) {
	for t := c.open(1, "timer", m.Timer != TimerID{}, 0); c.in(&t); {
		m.Timer.fields(c)
	}
}

// appendCommand writes v as the one field of a Command message.
func (c *coder) appendCommand(v Command) {
	kind := CommandKind(v)
	if kind == 0 {
		panic("events: encoding a nil Command")
	}
	m := c.openAppend(protowire.Number(kind), 0)
	switch v := v.(type) {
	case StartWorkflow:
		v.fields(c)
	case SignalWorkflow:
		v.fields(c)
	case CancelWorkflow:
		v.fields(c)
	case TerminateWorkflow:
		v.fields(c)
	case GetRun:
		v.fields(c)
	case ReleaseRun:
		v.fields(c)
	case ReportProgress:
		v.fields(c)
	case FailActivation:
		v.fields(c)
	case TimeoutActivation:
		v.fields(c)
	case CompleteTask:
		v.fields(c)
	case FailTask:
		v.fields(c)
	case TimeoutTask:
		v.fields(c)
	case RecordHeartbeat:
		v.fields(c)
	case FireTimer:
		v.fields(c)
	}
	c.setLength(&m)
}

// decodeCommand reads the Command message that m opens: exactly one kind.
func (c *coder) decodeCommand(m *message) Command {
	var v Command
	for c.in(m) {
		kind := c.num
		if v != nil {
			c.corrupt("a command has two kinds, one of them %d", kind)
			return nil
		}
		if !c.is(kind, protowire.BytesType) {
			return nil
		}
		inner := c.enter()
		if v = c.readCommand(int(kind), &inner); v == nil {
			c.fail(&UnknownKindError{What: "command", Kind: int(kind), Schema: c.schema})
		}
	}
	if v == nil && c.err == nil {
		c.corrupt("a command has no kind")
	}
	return v
}

func (c *coder) readCommand(kind int, m *message) Command {
	switch kind {
	case kindStartWorkflow:
		var v StartWorkflow
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindSignalWorkflow:
		var v SignalWorkflow
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCancelWorkflow:
		var v CancelWorkflow
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindTerminateWorkflow:
		var v TerminateWorkflow
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindGetRun:
		var v GetRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindReleaseRun:
		var v ReleaseRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindReportProgress:
		var v ReportProgress
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindFailActivation:
		var v FailActivation
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindTimeoutActivation:
		var v TimeoutActivation
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCompleteTask:
		var v CompleteTask
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindFailTask:
		var v FailTask
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindTimeoutTask:
		var v TimeoutTask
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindRecordHeartbeat:
		var v RecordHeartbeat
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindFireTimer:
		var v FireTimer
		for c.in(m) {
			v.fields(c)
		}
		return v
	default:
		return nil
	}
}
