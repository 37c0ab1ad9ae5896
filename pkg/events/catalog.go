package events

import "slices"

// The numbers of the kinds are frozen: they are the field numbers of the oneofs in events.proto. Numbers are only ever
// added.

// The kinds of events. Those below 16 cost a byte less and are the frequent ones.
const (
	kindRunStarted          = 1
	kindActivationScheduled = 2
	kindProgressMade        = 3
	kindTaskScheduled       = 4
	kindTaskAttemptFailed   = 5
	kindTaskCompleted       = 6
	kindTaskFailed          = 7
	kindTimerStarted        = 8
	kindTimerFired          = 9
	kindStepRecorded        = 10
	kindViewSet             = 11
	kindSignalReceived      = 12
	kindRunContinued        = 13
	kindRunCompleted        = 14
	kindRunFailed           = 15
	kindProgressRefused     = 16
	kindActivationFailed    = 17
	kindActivationTimedOut  = 18
	kindTaskCancelled       = 19
	kindHeartbeatRecorded   = 20
	kindTimerCancelled      = 21
	kindStepBackedOff       = 22
	kindStepRetryDue        = 23
	kindCancelRequested     = 24
	kindRunCancelled        = 25
	kindRunTerminated       = 26
	kindRunTimedOut         = 27
	kindRunQuarantined      = 28
	kindRunReleased         = 29
	kindRunPurged           = 30
	kindEpochStarted        = 31
)

// The kinds of commands.
const (
	kindStartWorkflow     = 1
	kindSignalWorkflow    = 2
	kindReportProgress    = 3
	kindCompleteTask      = 4
	kindFailTask          = 5
	kindFireTimer         = 6
	kindTimeoutTask       = 7
	kindRecordHeartbeat   = 8
	kindFailActivation    = 9
	kindTimeoutActivation = 10
	kindCancelWorkflow    = 11
	kindTerminateWorkflow = 12
	kindGetRun            = 13
	kindReleaseRun        = 14
)

// The kinds of intents.
const (
	kindScheduleTask = 1
	kindStartTimer   = 2
	kindRecordStep   = 3
	kindCompleteRun  = 4
	kindSetView      = 5
	kindCancelTask   = 6
	kindCancelTimer  = 7
	kindBackOffStep  = 8
	kindFailRun      = 9
	kindCancelRun    = 10
	kindContinueRun  = 11
)

// Kind is an entry of the catalog: one type of event, command, intent or effect.
type Kind[T any] struct {
	// Number is the frozen field number in the published oneof; of an effect, which is never written, its place in the list.
	Number int
	// Name is the stable name, which is the name of the Go type.
	Name string
	// Zero is the zero value of the type.
	Zero T
}

var eventKinds = []Kind[Event]{
	{kindRunStarted, "RunStarted", RunStarted{}},
	{kindActivationScheduled, "ActivationScheduled", ActivationScheduled{}},
	{kindProgressMade, "ProgressMade", ProgressMade{}},
	{kindTaskScheduled, "TaskScheduled", TaskScheduled{}},
	{kindTaskAttemptFailed, "TaskAttemptFailed", TaskAttemptFailed{}},
	{kindTaskCompleted, "TaskCompleted", TaskCompleted{}},
	{kindTaskFailed, "TaskFailed", TaskFailed{}},
	{kindTimerStarted, "TimerStarted", TimerStarted{}},
	{kindTimerFired, "TimerFired", TimerFired{}},
	{kindStepRecorded, "StepRecorded", StepRecorded{}},
	{kindViewSet, "ViewSet", ViewSet{}},
	{kindSignalReceived, "SignalReceived", SignalReceived{}},
	{kindRunContinued, "RunContinued", RunContinued{}},
	{kindRunCompleted, "RunCompleted", RunCompleted{}},
	{kindRunFailed, "RunFailed", RunFailed{}},
	{kindProgressRefused, "ProgressRefused", ProgressRefused{}},
	{kindActivationFailed, "ActivationFailed", ActivationFailed{}},
	{kindActivationTimedOut, "ActivationTimedOut", ActivationTimedOut{}},
	{kindTaskCancelled, "TaskCancelled", TaskCancelled{}},
	{kindHeartbeatRecorded, "HeartbeatRecorded", HeartbeatRecorded{}},
	{kindTimerCancelled, "TimerCancelled", TimerCancelled{}},
	{kindStepBackedOff, "StepBackedOff", StepBackedOff{}},
	{kindStepRetryDue, "StepRetryDue", StepRetryDue{}},
	{kindCancelRequested, "CancelRequested", CancelRequested{}},
	{kindRunCancelled, "RunCancelled", RunCancelled{}},
	{kindRunTerminated, "RunTerminated", RunTerminated{}},
	{kindRunTimedOut, "RunTimedOut", RunTimedOut{}},
	{kindRunQuarantined, "RunQuarantined", RunQuarantined{}},
	{kindRunReleased, "RunReleased", RunReleased{}},
	{kindRunPurged, "RunPurged", RunPurged{}},
	{kindEpochStarted, "EpochStarted", EpochStarted{}},
}

var commandKinds = []Kind[Command]{
	{kindStartWorkflow, "StartWorkflow", StartWorkflow{}},
	{kindSignalWorkflow, "SignalWorkflow", SignalWorkflow{}},
	{kindReportProgress, "ReportProgress", ReportProgress{}},
	{kindCompleteTask, "CompleteTask", CompleteTask{}},
	{kindFailTask, "FailTask", FailTask{}},
	{kindFireTimer, "FireTimer", FireTimer{}},
	{kindTimeoutTask, "TimeoutTask", TimeoutTask{}},
	{kindRecordHeartbeat, "RecordHeartbeat", RecordHeartbeat{}},
	{kindFailActivation, "FailActivation", FailActivation{}},
	{kindTimeoutActivation, "TimeoutActivation", TimeoutActivation{}},
	{kindCancelWorkflow, "CancelWorkflow", CancelWorkflow{}},
	{kindTerminateWorkflow, "TerminateWorkflow", TerminateWorkflow{}},
	{kindGetRun, "GetRun", GetRun{}},
	{kindReleaseRun, "ReleaseRun", ReleaseRun{}},
}

var intentKinds = []Kind[Intent]{
	{kindScheduleTask, "ScheduleTask", ScheduleTask{}},
	{kindStartTimer, "StartTimer", StartTimer{}},
	{kindRecordStep, "RecordStep", RecordStep{}},
	{kindCompleteRun, "CompleteRun", CompleteRun{}},
	{kindSetView, "SetView", SetView{}},
	{kindCancelTask, "CancelTask", CancelTask{}},
	{kindCancelTimer, "CancelTimer", CancelTimer{}},
	{kindBackOffStep, "BackOffStep", BackOffStep{}},
	{kindFailRun, "FailRun", FailRun{}},
	{kindCancelRun, "CancelRun", CancelRun{}},
	{kindContinueRun, "ContinueRun", ContinueRun{}},
}

var effectKinds = []Kind[Effect]{
	{1, "OpenTask", OpenTask{}},
	{2, "CloseTask", CloseTask{}},
	{3, "OpenActivation", OpenActivation{}},
	{4, "CloseActivation", CloseActivation{}},
	{5, "ArmTimer", ArmTimer{}},
	{6, "DisarmTimer", DisarmTimer{}},
	{7, "EndRun", EndRun{}},
}

// EventKinds returns every kind of event, by number from 1 without gaps.
func EventKinds() []Kind[Event] { return slices.Clone(eventKinds) }

// EventSet is a set of kinds of events.
type EventSet uint64

// EventSetOf returns the set of the kinds of the given events.
func EventSetOf(kinds ...Event) (s EventSet) {
	for _, e := range kinds {
		s |= 1 << EventKind(e)
	}
	return s
}

// LiveEvents are the kinds of events that a run's code in memory looks at when it goes on: of all others it needs no more than
// that they are there.
var LiveEvents = EventSetOf(
	ProgressMade{}, TaskCompleted{}, TaskFailed{}, TimerFired{}, StepRetryDue{}, SignalReceived{}, CancelRequested{},
)

// Has reports whether the set has the kind of an event.
func (s EventSet) Has(e Event) bool { return s.has(EventKind(e)) }

func (s EventSet) has(kind int) bool { return kind < 64 && s>>kind&1 == 1 }

// CommandKinds returns every kind of command, by number from 1 without gaps.
func CommandKinds() []Kind[Command] { return slices.Clone(commandKinds) }

// IntentKinds returns every kind of intent, by number from 1 without gaps.
func IntentKinds() []Kind[Intent] { return slices.Clone(intentKinds) }

// EffectKinds returns every kind of effect, by number from 1 without gaps.
func EffectKinds() []Kind[Effect] { return slices.Clone(effectKinds) }

// EventName returns the stable name of an event's kind, such as "TaskScheduled"; "" for nil.
func EventName(v Event) string {
	if n := EventKind(v); n > 0 {
		return eventKinds[n-1].Name
	}
	return ""
}

// CommandName returns the stable name of a command's kind, such as "StartWorkflow"; "" for nil.
func CommandName(v Command) string {
	if n := CommandKind(v); n > 0 {
		return commandKinds[n-1].Name
	}
	return ""
}

// IntentName returns the stable name of an intent's kind, such as "ScheduleTask"; "" for nil.
func IntentName(v Intent) string {
	if n := IntentKind(v); n > 0 {
		return intentKinds[n-1].Name
	}
	return ""
}

// EventKind returns the frozen number of an event's kind; 0 for nil.
func EventKind(v Event) int {
	switch v.(type) {
	case RunStarted:
		return kindRunStarted
	case ActivationScheduled:
		return kindActivationScheduled
	case ProgressMade:
		return kindProgressMade
	case TaskScheduled:
		return kindTaskScheduled
	case TaskAttemptFailed:
		return kindTaskAttemptFailed
	case TaskCompleted:
		return kindTaskCompleted
	case TaskFailed:
		return kindTaskFailed
	case TimerStarted:
		return kindTimerStarted
	case TimerFired:
		return kindTimerFired
	case StepRecorded:
		return kindStepRecorded
	case ViewSet:
		return kindViewSet
	case SignalReceived:
		return kindSignalReceived
	case RunContinued:
		return kindRunContinued
	case RunCompleted:
		return kindRunCompleted
	case RunFailed:
		return kindRunFailed
	case ProgressRefused:
		return kindProgressRefused
	case ActivationFailed:
		return kindActivationFailed
	case ActivationTimedOut:
		return kindActivationTimedOut
	case TaskCancelled:
		return kindTaskCancelled
	case HeartbeatRecorded:
		return kindHeartbeatRecorded
	case TimerCancelled:
		return kindTimerCancelled
	case StepBackedOff:
		return kindStepBackedOff
	case StepRetryDue:
		return kindStepRetryDue
	case CancelRequested:
		return kindCancelRequested
	case RunCancelled:
		return kindRunCancelled
	case RunTerminated:
		return kindRunTerminated
	case RunTimedOut:
		return kindRunTimedOut
	case RunQuarantined:
		return kindRunQuarantined
	case RunReleased:
		return kindRunReleased
	case RunPurged:
		return kindRunPurged
	case EpochStarted:
		return kindEpochStarted
	}
	return 0
}

// CommandKind returns the frozen number of a command's kind; 0 for nil.
func CommandKind(v Command) int {
	switch v.(type) {
	case StartWorkflow:
		return kindStartWorkflow
	case SignalWorkflow:
		return kindSignalWorkflow
	case ReportProgress:
		return kindReportProgress
	case CompleteTask:
		return kindCompleteTask
	case FailTask:
		return kindFailTask
	case FireTimer:
		return kindFireTimer
	case TimeoutTask:
		return kindTimeoutTask
	case RecordHeartbeat:
		return kindRecordHeartbeat
	case FailActivation:
		return kindFailActivation
	case TimeoutActivation:
		return kindTimeoutActivation
	case CancelWorkflow:
		return kindCancelWorkflow
	case TerminateWorkflow:
		return kindTerminateWorkflow
	case GetRun:
		return kindGetRun
	case ReleaseRun:
		return kindReleaseRun
	}
	return 0
}

// IntentKind returns the frozen number of an intent's kind; 0 for nil.
func IntentKind(v Intent) int {
	switch v.(type) {
	case ScheduleTask:
		return kindScheduleTask
	case StartTimer:
		return kindStartTimer
	case RecordStep:
		return kindRecordStep
	case CompleteRun:
		return kindCompleteRun
	case SetView:
		return kindSetView
	case CancelTask:
		return kindCancelTask
	case CancelTimer:
		return kindCancelTimer
	case BackOffStep:
		return kindBackOffStep
	case FailRun:
		return kindFailRun
	case CancelRun:
		return kindCancelRun
	case ContinueRun:
		return kindContinueRun
	}
	return 0
}

// EffectName returns the stable name of an effect's kind, such as "OpenTask"; "" for nil.
func EffectName(v Effect) string {
	switch v.(type) {
	case OpenTask:
		return "OpenTask"
	case CloseTask:
		return "CloseTask"
	case OpenActivation:
		return "OpenActivation"
	case CloseActivation:
		return "CloseActivation"
	case ArmTimer:
		return "ArmTimer"
	case DisarmTimer:
		return "DisarmTimer"
	case EndRun:
		return "EndRun"
	}
	return ""
}

// kindNamed returns the number of the event kind with a name; 0 if there is none.
func kindNamed(name string) int {
	return slices.IndexFunc(eventKinds, func(k Kind[Event]) bool { return k.Name == name }) + 1
}
