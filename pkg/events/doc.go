// Package events is the language of Continuo: what can be asked for (commands), what has happened (events), what was
// answered, and the record that carries events and answers in the log.
//
// Whoever wants something to change appends a [Command]. Only the engine appends events, one [Record] per run and batch of
// commands. Everybody else reads records.
//
//	command              events it may lead to
//	StartWorkflow        RunStarted, ActivationScheduled
//	SignalWorkflow       SignalReceived
//	CancelWorkflow       CancelRequested
//	TerminateWorkflow    RunTerminated
//	ReportProgress       ProgressMade and one event per intent, or ProgressRefused
//	FailActivation       ActivationFailed, ActivationScheduled
//	TimeoutActivation    ActivationTimedOut, ActivationScheduled
//	CompleteTask         TaskCompleted
//	FailTask             TaskAttemptFailed or TaskFailed
//	TimeoutTask          TaskAttemptFailed or TaskFailed
//	RecordHeartbeat      HeartbeatRecorded
//	FireTimer            TimerFired, StepRetryDue, TaskFailed or RunTimedOut
//	ReleaseRun           RunReleased
//
// Every command also leaves an [Answer] in its record, a refused or repeated one included.
//
// The package is pure: it has no clock, no randomness and no I/O, and its bytes are protobuf wire format as published in
// proto/continuo/events/v1.
package events

//go:generate go test ./internal/eventdoc -run TestReferenceIsFresh -update
