package events

// Effect is something that a record asks of the world outside the run: to offer work, to arm a timer. Effects are derived from records
// by [Effects], so that every reader derives the same.
//
//sumtype:decl
type Effect interface{ effect() }

// OpenTask offers an attempt of a task to the workers of its queue.
type OpenTask struct {
	Namespace  Namespace
	WorkflowID WorkflowID
	Task       TaskID
	Attempt    Attempt
	Name       TaskName
	Queue      TaskQueue
	NotBefore  Time        // 0 means at once
	Scheduled  EventNumber // the TaskScheduled with input and options
	// OfferTo may have the task before anybody else until OfferUntil; 0 means nobody.
	OfferTo    SessionID
	OfferUntil Time
	// Call is the TaskScheduled itself when it is part of this record; nil for later attempts.
	Call *TaskScheduled
}

// CloseTask withdraws a task; Attempt is the one that was open. Cancelled says that a worker running it is to be told to
// stop.
type CloseTask struct {
	Task      TaskID
	Attempt   Attempt
	Cancelled bool
}

// OpenActivation offers a run's activation to the workers of its type.
type OpenActivation struct {
	Namespace  Namespace
	WorkflowID WorkflowID
	RunID      RunID
	Activation ActivationScheduled
	Number     EventNumber // of the ActivationScheduled event
	At         Time        // the record's time: what the code is shown
}

// CloseActivation withdraws a run's activation.
type CloseActivation struct {
	RunID      RunID
	Activation uint64
}

// ArmTimer asks for a FireTimer command when Due has come.
type ArmTimer struct {
	Namespace  Namespace
	WorkflowID WorkflowID
	RunID      RunID
	Timer      TimerID
	Due        Time
}

// DisarmTimer forgets a timer.
type DisarmTimer struct {
	RunID RunID
	Timer TimerID
}

// EndRun withdraws everything of a run: its tasks (running ones are told to stop), its activation and its timers.
type EndRun struct{ RunID RunID }

func (OpenTask) effect()        {}
func (CloseTask) effect()       {}
func (OpenActivation) effect()  {}
func (CloseActivation) effect() {}
func (ArmTimer) effect()        {}
func (DisarmTimer) effect()     {}
func (EndRun) effect()          {}

// Effects appends to dst what record r asks of the world, in the order of its events. It depends on r alone.
//
// The timers of a task (schedule-to-start, schedule-to-close) are armed by TaskScheduled and TaskAttemptFailed and
// disarmed by the effect that closes or reopens the task: a reader that sees CloseTask forgets them too. Only the reader
// that hands tasks out knows when an attempt begins, so it forgets TimerScheduleToStart when it delivers the attempt.
func Effects(dst []Effect, r *Record) []Effect {
	for i, e := range r.Events {
		dst = effectsOf(dst, r, r.First+EventNumber(i), e)
	}
	return dst
}

func effectsOf(dst []Effect, r *Record, number EventNumber, e Event) []Effect {
	arm := func(id TimerID, due Time) Effect {
		return ArmTimer{Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Timer: id, Due: due}
	}
	task := func(s Step) TaskID { return TaskID{Run: r.RunID, Step: s} }
	switch e := e.(type) {
	case RunStarted:
		if e.RunTimeout > 0 {
			dst = append(dst, arm(TimerID{Kind: TimerRunTimeout}, r.Time.Add(e.RunTimeout)))
		}
	case ActivationScheduled:
		dst = append(dst, OpenActivation{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, RunID: r.RunID, Activation: e, Number: number, At: r.Time,
		})
	case ProgressMade:
		dst = append(dst, CloseActivation{RunID: r.RunID, Activation: e.Activation})
	case ProgressRefused:
		dst = append(dst, CloseActivation{RunID: r.RunID, Activation: e.Activation})
	case ActivationFailed:
		dst = append(dst, CloseActivation{RunID: r.RunID, Activation: e.Activation})
	case ActivationTimedOut:
		dst = append(dst, CloseActivation{RunID: r.RunID, Activation: e.Activation})
	case TaskScheduled:
		call := e
		dst = append(dst, OpenTask{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, Task: task(e.Step), Attempt: 1, Name: e.Name, Queue: e.Queue,
			Scheduled: number, OfferTo: e.OfferTo, OfferUntil: e.OfferUntil, Call: &call,
		})
		if e.Options.ScheduleToStart > 0 {
			dst = append(dst, arm(TimerID{Kind: TimerScheduleToStart, Step: e.Step, Attempt: 1}, r.Time.Add(e.Options.ScheduleToStart)))
		}
		if e.Options.ScheduleToClose > 0 {
			dst = append(dst, arm(TimerID{Kind: TimerScheduleToClose, Step: e.Step}, r.Time.Add(e.Options.ScheduleToClose)))
		}
	case TaskAttemptFailed:
		dst = append(dst, OpenTask{
			Namespace: r.Namespace, WorkflowID: r.WorkflowID, Task: task(e.Step), Attempt: e.Attempt + 1, Name: e.Name, Queue: e.Queue,
			NotBefore: e.NotBefore, Scheduled: e.Scheduled,
		})
		if e.ScheduleToStart > 0 {
			id := TimerID{Kind: TimerScheduleToStart, Step: e.Step, Attempt: e.Attempt + 1}
			dst = append(dst, arm(id, max(r.Time, e.NotBefore).Add(e.ScheduleToStart)))
		}
	case TaskCompleted:
		dst = append(dst, CloseTask{Task: task(e.Step), Attempt: e.Attempt})
	case TaskFailed:
		dst = append(dst, CloseTask{Task: task(e.Step), Attempt: e.Attempt})
	case TaskCancelled:
		dst = append(dst, CloseTask{Task: task(e.Step), Attempt: e.Attempt, Cancelled: true})
	case TimerStarted:
		dst = append(dst, arm(TimerID{Kind: TimerSleep, Step: e.Step}, e.Due))
	case TimerFired:
		dst = append(dst, DisarmTimer{RunID: r.RunID, Timer: TimerID{Kind: TimerSleep, Step: e.Step}})
	case TimerCancelled:
		dst = append(dst, DisarmTimer{RunID: r.RunID, Timer: TimerID{Kind: TimerSleep, Step: e.Step}},
			DisarmTimer{RunID: r.RunID, Timer: TimerID{Kind: TimerStepRetry, Step: e.Step}})
	case StepBackedOff:
		dst = append(dst, arm(TimerID{Kind: TimerStepRetry, Step: e.Step}, e.Until))
	case StepRetryDue:
		dst = append(dst, DisarmTimer{RunID: r.RunID, Timer: TimerID{Kind: TimerStepRetry, Step: e.Step}})
	case RunCompleted, RunFailed, RunCancelled, RunTerminated, RunTimedOut:
		dst = append(dst, EndRun{RunID: r.RunID})
	case RunQuarantined, RunReleased, RunPurged, RunContinued, CancelRequested, SignalReceived, ViewSet, StepRecorded,
		HeartbeatRecorded, EpochStarted:
		// These ask nothing of the world.
	}
	return dst
}
