package mutant

import "slices"

// Mutant is a planted defect.
type Mutant struct {
	ID   ID
	Name string
	// Broken says in one sentence what is wrong with it.
	Broken string
	// File has its guard, relative to the module's root; the first one when there are several.
	File string
	// Invariant is what it violates.
	Invariant string
}

// Catalogue returns all mutants, in the order of their ids.
func Catalogue() []Mutant { return slices.Clone(catalogue[:]) }

var catalogue = [...]Mutant{
	{
		SkipStampDedup, "skip-stamp-dedup", "A command that the transport repeats is handled again.",
		"services/engine/dedup.go", "a command is done once",
	},
	{
		SkipStartDedup, "skip-start-dedup", "A repeated start begins the run of its run id again.",
		"services/engine/partition.go", "a repeated start is the same run",
	},
	{
		DropRepeatedAnswer, "drop-repeated-answer", "A repeated command is recognized and gets no answer.",
		"services/engine/partition.go", "every command leaves an answer",
	},
	{
		RowsBeforeDurable, "rows-before-durable", "Rows and checkpoint are written before the records they include are durable.",
		"services/engine/partition.go", "nothing leaves a turn before its records are durable",
	},
	{
		RowMissesLoneEvent, "row-misses-lone-event", "A record of one event does not make the run's row dirty.",
		"services/engine/partition.go", "checkpoint + tail = replay",
	},
	{
		CheckpointForgetsIdleRuns, "checkpoint-forgets-idle-runs", "A flush writes the checkpoint without the rows of idle runs.",
		"services/engine/checkpoint.go", "checkpoint + tail = replay",
	},
	{
		CheckpointAhead, "checkpoint-ahead", "A checkpoint claims to include one record more than it does.",
		"services/engine/checkpoint.go", "checkpoint + tail = replay",
	},
	{
		TimeFallsAfterRestart, "time-falls-after-restart", "A new owner begins at the wall clock, though the log is ahead of it.",
		"services/engine/partition.go", "time never falls in a partition",
	},
	{
		TailNotFolded, "tail-not-folded", "Recovery does not apply the log's tail to runs that it knows.",
		"services/engine/recovery.go", "checkpoint + tail = replay",
	},
	{
		ForgetAnswersAtRecovery, "forget-answers-at-recovery", "Requests answered in the log's tail are not known after a restart.",
		"services/engine/recovery.go", "the same request gets the same answer",
	},

	{
		AttemptReused, "attempt-reused", "A failed attempt is followed by one with the same number.",
		"services/engine/machine/task.go", "attempts of a task count on",
	},
	{
		StaleAttemptAccepted, "stale-attempt-accepted", "The result of an attempt that is over counts as that of the open one.",
		"services/engine/machine/task.go", "one accepted result per attempt chain",
	},
	{
		SecondResultAccepted, "second-result-accepted", "A completed task stays open, so that a second result is accepted.",
		"services/engine/machine/task.go", "one accepted result per task",
	},
	{
		ResultAcceptedAfterCancel, "result-accepted-after-cancel", "A cancelled task stays open, so that its result is accepted.",
		"services/engine/machine/apply.go", "no result after a cancel",
	},
	{
		LoseSignalAtCompletion, "lose-signal-at-completion", "A run ends although a signal has come that its code does not know.",
		"services/engine/machine/progress.go", "an acknowledged signal is given to the code before the run can end",
	},
	{
		TimerEarly, "timer-early", "Timers fire one millisecond early.",
		"services/engine/machine/timer.go", "a timer never fires early",
	},
	{
		ForgetWaitSet, "forget-wait-set", "A run that comes back from its row waits for nothing.",
		"services/engine/machine/encode.go", "every run ends",
	},

	{
		DispatchAfterResult, "dispatch-after-result", "A task that is over stays in the backlog.",
		"services/scheduler/dispatch.go", "the backlog equals the log",
	},
	{
		DueEntryNotRemoved, "due-entry-not-removed", "Work that is over keeps its row in the due index.",
		"services/scheduler/part.go", "the due index equals the log",
	},
	{
		DueEntryNotAdded, "due-entry-not-added", "A later attempt of a task is not written to the due index.",
		"services/scheduler/part.go", "the due index equals the log",
	},
	{
		ForgetTimerAtRecovery, "forget-timer-at-recovery", "Timers are not loaded from the due index.",
		"services/scheduler/index.go", "every run ends",
	},
	{
		SchedulerResumesLate, "scheduler-resumes-late", "A restarted scheduler passes over the first record of the tail.",
		"services/scheduler/recovery.go", "the backlog equals the log",
	},
	{
		VanishedGatewayKeepsWork, "vanished-gateway-keeps-work", "What a gateway held is not given away again when it is gone.",
		"services/scheduler/matcher/workers.go", "every run ends",
	},
	{
		WheelIgnoresRightChild, "wheel-ignores-right-child", "The wheel's heap sifts down without looking at right children.",
		"services/scheduler/wheel/wheel.go", "timers come in the order of their times",
	},

	{
		EarlyStartToClose, "early-start-to-close", "An attempt times out a tenth before its start-to-close limit.",
		"services/gateway/sessions/task.go", "an attempt has the time it was promised",
	},
	{
		OfferNeverTold, "offer-never-told", "A gateway never tells the schedulers of what it took the direct way.",
		"services/gateway/sessions/lasting.go", "an attempt is held by one worker at a time",
	},
	{
		LostTreatedAsKept, "lost-treated-as-kept", "A command whose append was lost counts as durable and is not sent again.",
		"services/gateway/sessions/command.go", "no accepted command is lost",
	},
	{
		UnknownTreatedAsRefused, "unknown-treated-as-refused", "A command that may have happened is reported as refused.",
		"services/gateway/sessions/command.go", "a refusal means that nothing was kept",
	},
	{
		LostWorkerUnnoticed, "lost-worker-unnoticed", "The attempts of a worker that does not come back are forgotten.",
		"services/gateway/sessions/worker.go", "every run ends",
	},
	{
		CancelledTaskHanded, "cancelled-task-handed", "A task that was cancelled on its way is handed to the worker.",
		"services/gateway/sessions/task.go", "a cancelled task is not started",
	},

	{
		ProjectionAppliesTwice, "projection-applies-twice", "Events that a row includes already are folded again.",
		"services/projector/projection/fold.go", "read models equal the log",
	},
	{
		ProjectorResumesLate, "projector-resumes-late", "A restarted projector passes over the first record of the tail.",
		"services/projector/projector.go", "read models equal the log",
	},

	{
		TrimIgnoresHolds, "trim-ignores-holds", "The log is trimmed although a reader still needs it.",
		"internal/adapter/memory/journal.go", "a held position is never trimmed",
	},
	{
		FormerOwnerCommits, "former-owner-commits", "An owner that was replaced can go on committing.",
		"internal/adapter/memory/owner.go", "one writer of events per partition",
	},
	{
		TornStep, "torn-step", "A commit whose outcome is unknown keeps all records of its step but the last.",
		"internal/adapter/memory/owner.go", "a step is atomic",
	},
	{
		InboxForgetsHeld, "inbox-forgets-held", "A scheduler that begins anew is not told what workers hold.",
		"internal/inbox/book/book.go", "an attempt is held by one worker at a time",
	},
	{
		MailboxLeaksRoom, "mailbox-leaks-room", "Client commands that were handled go on counting as waiting.",
		"internal/journal/mailbox/mailbox.go", "a queue with room takes commands",
	},
	{
		AbandonedUnanswered, "abandoned-unanswered", "Senders are not told that the owner of their commands is gone.",
		"internal/journal/mailbox/mailbox.go", "every sender learns the fate of its command",
	},
	{
		SyncSkipped, "sync-skipped", "A commit is acknowledged without a sync.",
		"internal/adapter/pebble/committer.go", "what was acknowledged survives a power cut",
	},
	{
		DueRowLeftBehind, "due-row-left-behind", "An item of the due index that moves in time stays at its old time, too.",
		"internal/adapter/pebble/dueindex.go", "the due index equals the log",
	},
	{
		PurgedRowKept, "purged-row-kept", "The read model keeps the rows of purged runs.",
		"internal/adapter/sqlite/write.go", "read models equal the log",
	},
	{
		BlobHashIgnored, "blob-hash-ignored", "A damaged blob is returned as it is.",
		"internal/adapter/files/files.go", "damage is detected, never read",
	},

	{
		BodyChecksumIgnored, "body-checksum-ignored", "The checksum of a record's body is not compared.",
		"pkg/events/frame.go", "damage is detected, never read",
	},
	{
		RetryUnbounded, "retry-unbounded", "The delay between attempts grows without the bound of the policy.",
		"pkg/events/retry.go", "a retry comes within the policy's longest delay",
	},

	{
		MismatchIgnored, "mismatch-ignored", "Code that does something else than its history says goes on.",
		"internal/replay/mismatch.go", "code that does not fit its history is stopped",
	},
	{
		ContinueLosesSignals, "continue-loses-signals", "Signals that were unread when a run continued are not replayed.",
		"internal/replay/history.go", "unread signals survive a continuation",
	},
	{
		ActivationRunsTwice, "activation-runs-twice", "A repeated delivery of an activation runs the code a second time.",
		"pkg/sdk/worker/activations.go", "one activation in flight per run",
	},
	{
		UnackedResultForgotten, "unacked-result-forgotten", "Results that were not acknowledged are not sent again on a new stream.",
		"pkg/sdk/worker/outbox.go", "no result is lost",
	},
	{
		CancelledEndsAsFailed, "cancelled-ends-as-failed", "A run whose code ends because it was cancelled counts as failed.",
		"pkg/sdk/flow/workflow.go", "a run that was cancelled ends as cancelled",
	},

	{
		StaleRecordsAccepted, "stale-records-accepted", "Records of an owner that has been replaced are accepted.",
		"internal/brokerlog/fold/state.go", "a zombie confirms nothing",
	},
	{
		StaleOpeningAccepted, "stale-opening-accepted", "An opening counts although its epoch is not above the current one.",
		"internal/brokerlog/fold/state.go", "epochs never fall",
	},
	{
		RepeatedFrameAccepted, "repeated-frame-accepted", "A frame that was read before is accepted again.",
		"internal/brokerlog/fold/state.go", "a record is in the journal once",
	},
	{
		GapAccepted, "gap-accepted", "A frame is accepted although an append before it failed.",
		"internal/brokerlog/fold/state.go", "sequence numbers have no gaps",
	},
	{
		EveryGapHalts, "every-gap-halts", "A gap halts the partition although nobody had read what is missing.",
		"internal/brokerlog/fold/state.go", "a failed append costs an ownership, not the partition",
	},
	{
		LostRecordsUnnoticed, "lost-records-unnoticed", "Records that an owner had read back may be missing.",
		"internal/brokerlog/fold/state.go", "a real loss halts",
	},
	{
		LostOpeningUnnoticed, "lost-opening-unnoticed", "Records of an epoch whose opening is missing are skipped.",
		"internal/brokerlog/fold/state.go", "a real loss halts",
	},
	{
		ReusedNumbersUnnoticed, "reused-numbers-unnoticed", "A reader that knows more than the log goes on.",
		"internal/brokerlog/fold/state.go", "a real loss halts",
	},
	{
		SecondOwnerUnnoticed, "second-owner-unnoticed", "Records of a second owner of one epoch are skipped.",
		"internal/brokerlog/fold/state.go", "a real loss halts",
	},
	{
		OpeningNotAwaited, "opening-not-awaited", "An owner appends records before it has read its opening back.",
		"internal/brokerlog/fold/writer.go", "one owner confirms",
	},
	{
		OthersOpeningTaken, "others-opening-taken", "An owner takes another's opening of the same epoch for its own.",
		"internal/brokerlog/fold/writer.go", "one owner confirms",
	},
	{
		RepeatedCommandTaken, "repeated-command-taken", "A forwarded command is handled each time it comes.",
		"internal/brokerlog/fold/command.go", "a command is done once",
	},
	{
		EarlyCommandTaken, "early-command-taken", "A forwarded command is handled before the one that precedes it.",
		"internal/brokerlog/fold/command.go", "no command is lost between partitions",
	},
	{
		LostCommandUnnoticed, "lost-command-unnoticed", "A forwarded command that was in the log may be missing.",
		"internal/brokerlog/fold/command.go", "a real loss is told",
	},
	{
		OldSendingCounts, "old-sending-counts", "The acknowledgement of an earlier sending moves the cursor.",
		"internal/brokerlog/fold/forward.go", "no command is lost between partitions",
	},
	{
		FailedForwardSkipped, "failed-forward-skipped", "A forwarded command whose append failed is not sent again.",
		"internal/brokerlog/fold/forward.go", "no command is lost between partitions",
	},
	{
		ForwardCheckpointAhead, "forward-checkpoint-ahead", "A forwarder's checkpoint includes commands that are not acknowledged.",
		"internal/brokerlog/fold/forward.go", "no command is lost between partitions",
	},
	{
		CheckpointForgetsBroken, "checkpoint-forgets-broken", "A checkpoint does not say that the owner is broken.",
		"internal/brokerlog/fold/checkpoint.go", "all readers accept the same",
	},
	{
		CheckpointForgetsTaken, "checkpoint-forgets-taken", "A checkpoint does not say which forwarded commands are handled.",
		"internal/brokerlog/fold/checkpoint.go", "a command is done once",
	},
	{
		FrameChecksumIgnored, "frame-checksum-ignored", "The checksum of a message is not compared.",
		"internal/brokerlog/fold/bytes.go", "damage is detected, never read",
	},
	{
		ReplacedSegmentDeletedEarly, "replaced-segment-deleted-early", "A segment is deleted with the first manifest that does without it.",
		"internal/adapter/segments/owned.go", "what a later owner reads is there",
	},
	{
		LeftoversDeletedAtOnce, "leftovers-deleted-at-once", "An owner deletes what it finds left before it knows that it has no successor.",
		"internal/adapter/segments/owned.go", "what a later owner reads is there",
	},
	{
		DeletionDroppedEarly, "deletion-dropped-early", "A merge drops deletions though older layers have what they delete.",
		"internal/adapter/segments/merge.go", "rows are the fold of the log",
	},
	{
		CheckpointWithoutHistories, "checkpoint-without-histories", "A checkpoint is durable before the histories below it.",
		"internal/adapter/segments/owned.go", "what is trimmed is in the archive",
	},
	{
		FailedWriteForgotten, "failed-write-forgotten", "After a write that failed the partition goes on without reading its checkpoint.",
		"internal/adapter/segments/owned.go", "an unknown outcome ends the ownership",
	},
	{
		ClaimNotLookedFor, "claim-not-looked-for", "A scheduler does not see that another has claimed the index.",
		"internal/adapter/segments/claim.go", "what the log forgets is in the index that counts",
	},
}
