package events

// The fields of events about tasks, timers and steps.

func (e *TaskScheduled) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	text(c, 2, "name", &e.Name)
	text(c, 3, "queue", &e.Queue)
	c.payload(4, "input", &e.Input)
	c.taskOptions(5, "options", &e.Options)
	fixed(c, 6, "offer_to", &e.OfferTo)
	c.instant(7, "offer_until", &e.OfferUntil)
}

func (e *TaskAttemptFailed) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	number(c, 2, "attempt", &e.Attempt)
	c.failure(3, "failure", &e.Failure)
	c.instant(4, "not_before", &e.NotBefore)
	text(c, 5, "name", &e.Name)
	text(c, 6, "queue", &e.Queue)
	number(c, 7, "scheduled", &e.Scheduled)
	c.span(8, "schedule_to_start", &e.ScheduleToStart)
	c.payload(9, "details", &e.Details)
	text(c, 10, "worker", &e.Worker)
}

func (e *TaskCompleted) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	number(c, 2, "attempt", &e.Attempt)
	c.payload(3, "result", &e.Result)
	text(c, 4, "worker", &e.Worker)
}

func (e *TaskFailed) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	number(c, 2, "attempt", &e.Attempt)
	c.failure(3, "failure", &e.Failure)
	text(c, 4, "worker", &e.Worker)
}

func (e *TaskCancelled) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	number(c, 2, "attempt", &e.Attempt)
}

func (e *HeartbeatRecorded) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	number(c, 2, "attempt", &e.Attempt)
	c.payload(3, "details", &e.Details)
}

func (e *TimerStarted) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	c.instant(2, "due", &e.Due)
}

func (e *TimerFired) fields(c *coder)     { number(c, 1, "step", &e.Step) }
func (e *TimerCancelled) fields(c *coder) { number(c, 1, "step", &e.Step) }

func (e *StepRecorded) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	text(c, 2, "label", &e.Label)
	c.payload(3, "result", &e.Result)
	c.optionalFailure(4, "failure", &e.Failure)
	number(c, 5, "attempts", &e.Attempts)
	c.instant(6, "at", &e.At)
}

func (e *StepBackedOff) fields(c *coder) {
	number(c, 1, "step", &e.Step)
	text(c, 2, "label", &e.Label)
	number(c, 3, "attempt", &e.Attempt)
	c.failure(4, "failure", &e.Failure)
	c.instant(5, "until", &e.Until)
}

func (e *StepRetryDue) fields(c *coder) { number(c, 1, "step", &e.Step) }

func (c *coder) readWorkEvent(kind int, m *message) Event {
	switch kind {
	case kindTaskScheduled:
		var e TaskScheduled
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTaskAttemptFailed:
		var e TaskAttemptFailed
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTaskCompleted:
		var e TaskCompleted
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTaskFailed:
		var e TaskFailed
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTaskCancelled:
		var e TaskCancelled
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindHeartbeatRecorded:
		var e HeartbeatRecorded
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTimerStarted:
		var e TimerStarted
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTimerFired:
		var e TimerFired
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindTimerCancelled:
		var e TimerCancelled
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindStepRecorded:
		var e StepRecorded
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindStepBackedOff:
		var e StepBackedOff
		for c.in(m) {
			e.fields(c)
		}
		return e
	case kindStepRetryDue:
		var e StepRetryDue
		for c.in(m) {
			e.fields(c)
		}
		return e
	default:
		return nil
	}
}
