// Package mutant plants known defects, so that tests can show that they would find one.
//
// A defect is a guard in the code it breaks:
//
//	if mutant.On(mutant.SkipStampDedup) {
//
// In an ordinary build On is a constant false: the compiler removes the guard and what it guards. A build with the tag
// mutants has all of them, and at most one is chosen at run time, by the environment variable CONTINUO_MUTANT or by [Set].
// [Catalogue] says what each of them breaks, and cmd/continuo-sim hunts them ("continuo-sim mutants").
package mutant

// Variable is the environment variable that chooses a mutant in a build with the tag mutants. Empty or missing means none;
// a name that is not in the catalogue ends the process at its start.
const Variable = "CONTINUO_MUTANT"

// ID names a mutant in code. What each of them breaks is in the catalogue.
type ID uint8

// The mutants, by the package that has their guard.
const (
	_ ID = iota

	// services/engine: the shell of the engine.

	SkipStampDedup
	SkipStartDedup
	DropRepeatedAnswer
	RowsBeforeDurable
	RowMissesLoneEvent
	CheckpointForgetsIdleRuns
	CheckpointAhead
	TimeFallsAfterRestart
	TailNotFolded
	ForgetAnswersAtRecovery

	// services/engine/machine: the decisions of a run.

	AttemptReused
	StaleAttemptAccepted
	SecondResultAccepted
	ResultAcceptedAfterCancel
	LoseSignalAtCompletion
	TimerEarly
	ForgetWaitSet

	// services/scheduler with its matcher and wheel.

	DispatchAfterResult
	DueEntryNotRemoved
	DueEntryNotAdded
	ForgetTimerAtRecovery
	SchedulerResumesLate
	VanishedGatewayKeepsWork
	WheelIgnoresRightChild

	// services/gateway/sessions.

	EarlyStartToClose
	OfferNeverTold
	LostTreatedAsKept
	UnknownTreatedAsRefused
	LostWorkerUnnoticed
	CancelledTaskHanded

	// services/projector with its projection.

	ProjectionAppliesTwice
	ProjectorResumesLate

	// The adapters and what they share.

	TrimIgnoresHolds
	FormerOwnerCommits
	TornStep
	InboxForgetsHeld
	MailboxLeaksRoom
	AbandonedUnanswered
	SyncSkipped
	DueRowLeftBehind
	PurgedRowKept
	BlobHashIgnored

	// pkg/events.

	BodyChecksumIgnored
	RetryUnbounded

	// internal/replay and the SDK.

	MismatchIgnored
	ContinueLosesSignals
	ActivationRunsTwice
	UnackedResultForgotten
	CancelledEndsAsFailed

	// internal/brokerlog/fold: the journal over a plain log.

	StaleRecordsAccepted
	StaleOpeningAccepted
	RepeatedFrameAccepted
	GapAccepted
	EveryGapHalts
	LostRecordsUnnoticed
	LostOpeningUnnoticed
	ReusedNumbersUnnoticed
	SecondOwnerUnnoticed
	OpeningNotAwaited
	OthersOpeningTaken
	RepeatedCommandTaken
	EarlyCommandTaken
	LostCommandUnnoticed
	OldSendingCounts
	FailedForwardSkipped
	ForwardCheckpointAhead
	CheckpointForgetsBroken
	CheckpointForgetsTaken
	FrameChecksumIgnored

	// internal/adapter/segments: rows and histories in a store of objects.

	ReplacedSegmentDeletedEarly
	LeftoversDeletedAtOnce
	DeletionDroppedEarly
	CheckpointWithoutHistories
	FailedWriteForgotten
	ClaimNotLookedFor
)
