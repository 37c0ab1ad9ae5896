package events

import "google.golang.org/protobuf/encoding/protowire"

// The fields of intents.

func (i *ScheduleTask) fields(c *coder) {
	number(c, 1, "step", &i.Step)
	text(c, 2, "name", &i.Name)
	text(c, 3, "queue", &i.Queue)
	c.payload(4, "input", &i.Input)
	c.taskOptions(5, "options", &i.Options)
}

func (i *CancelTask) fields(c *coder) { number(c, 1, "step", &i.Step) }

func (i *StartTimer) fields(c *coder) {
	number(c, 1, "step", &i.Step)
	c.instant(2, "due", &i.Due)
}

func (i *CancelTimer) fields(c *coder) { number(c, 1, "step", &i.Step) }

func (i *RecordStep) fields(c *coder) {
	number(c, 1, "step", &i.Step)
	text(c, 2, "label", &i.Label)
	c.payload(3, "result", &i.Result)
	c.optionalFailure(4, "failure", &i.Failure)
	number(c, 5, "attempts", &i.Attempts)
	c.instant(6, "at", &i.At)
}

func (i *BackOffStep) fields(c *coder) {
	number(c, 1, "step", &i.Step)
	text(c, 2, "label", &i.Label)
	number(c, 3, "attempt", &i.Attempt)
	c.failure(4, "failure", &i.Failure)
	c.instant(5, "until", &i.Until)
}

func (i *SetView) fields(c *coder) {
	text(c, 1, "name", &i.Name)
	c.payload(2, "value", &i.Value)
}

func (i *CompleteRun) fields(c *coder) { c.payload(1, "result", &i.Result) }
func (i *FailRun) fields(c *coder)     { c.failure(1, "failure", &i.Failure) }
func (i *CancelRun) fields(c *coder)   { c.failure(1, "failure", &i.Failure) }
func (i *ContinueRun) fields(c *coder) { c.payload(1, "input", &i.Input) }

// intents is a list of intents; commands have no JSON form, so neither have they.
func (c *coder) intents(num protowire.Number, name string, p *[]Intent) {
	for l := c.list(num, name, len(*p)); c.more(&l); {
		if c.mode == decoding {
			if l.i == 0 {
				*p = make([]Intent, 0, c.ahead())
			}
			m := c.item(&l)
			*p = append(*p, c.decodeIntent(&m))
			continue
		}
		m := c.item(&l)
		c.appendIntent((*p)[l.i])
		c.setLength(&m)
	}
}

// appendIntent writes v as the one field of an Intent message.
func (c *coder) appendIntent(v Intent) {
	kind := IntentKind(v)
	if kind == 0 {
		panic("events: encoding a nil Intent")
	}
	m := c.openAppend(protowire.Number(kind), 0)
	switch v := v.(type) {
	case ScheduleTask:
		v.fields(c)
	case CancelTask:
		v.fields(c)
	case StartTimer:
		v.fields(c)
	case CancelTimer:
		v.fields(c)
	case RecordStep:
		v.fields(c)
	case BackOffStep:
		v.fields(c)
	case SetView:
		v.fields(c)
	case CompleteRun:
		v.fields(c)
	case FailRun:
		v.fields(c)
	case CancelRun:
		v.fields(c)
	case ContinueRun:
		v.fields(c)
	}
	c.setLength(&m)
}

// decodeIntent reads the Intent message that m opens: exactly one kind.
func (c *coder) decodeIntent(m *message) Intent {
	var v Intent
	for c.in(m) {
		kind := c.num
		if v != nil {
			c.corrupt("an intent has two kinds, one of them %d", kind)
			return nil
		}
		if !c.is(kind, protowire.BytesType) {
			return nil
		}
		inner := c.enter()
		if v = c.readIntent(int(kind), &inner); v == nil {
			c.fail(&UnknownKindError{What: "intent", Kind: int(kind), Schema: c.schema})
		}
	}
	if v == nil && c.err == nil {
		c.corrupt("an intent has no kind")
	}
	return v
}

func (c *coder) readIntent(kind int, m *message) Intent {
	switch kind {
	case kindScheduleTask:
		var v ScheduleTask
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCancelTask:
		var v CancelTask
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindStartTimer:
		var v StartTimer
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCancelTimer:
		var v CancelTimer
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindRecordStep:
		var v RecordStep
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindBackOffStep:
		var v BackOffStep
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindSetView:
		var v SetView
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCompleteRun:
		var v CompleteRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindFailRun:
		var v FailRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindCancelRun:
		var v CancelRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	case kindContinueRun:
		var v ContinueRun
		for c.in(m) {
			v.fields(c)
		}
		return v
	default:
		return nil
	}
}
