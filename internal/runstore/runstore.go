// Package runstore is the port of the engine's rows: encoded runs, the newest run of each workflow id, answers kept for
// repeated requests, and checkpoints.
//
// Rows are derived from the log. A row of a run carries the sequence number it includes, so that folding the log over it
// skips what it has. Write is ordered after the journal's commits that precede it but is not synced by itself: after a
// crash rows may be older than written, never newer than the log and never mixed within one Write.
//
// Where several processes share partitions, a new owner reads the checkpoint first. That begins its ownership in the store:
// it sees what the former owners have made durable.
package runstore

import (
	"context"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Store is the port. Reads see all earlier writes of the same process. Its methods may be called from any goroutine, for one
// partition by its owner only.
type Store interface {
	// Run returns the encoded row of a run, nil if there is none. The caller must not change it.
	Run(ctx context.Context, p events.Partition, id events.RunID) ([]byte, error)
	// Newest returns the newest run of a workflow id; ok is false if none is known.
	Newest(ctx context.Context, p events.Partition, ns events.Namespace, id events.WorkflowID) (newest Newest, ok bool, err error)
	// Answer returns the answer kept for a request to a run; ok is false if none is.
	Answer(ctx context.Context, p events.Partition, run events.RunID, request events.RequestID) (answer KeptAnswer, ok bool, err error)
	// Checkpoint returns the partition's last checkpoint; the zero value if there is none. It is the first call of an
	// ownership; writes of an earlier one that no checkpoint has followed may be gone from then on.
	Checkpoint(ctx context.Context, p events.Partition) (Checkpoint, error)
	// Ended returns up to limit runs whose Forget time is at or before the given time, oldest first.
	Ended(ctx context.Context, p events.Partition, until events.Time, limit int) ([]Ended, error)
	// Quarantined returns up to limit quarantined runs of the partition.
	Quarantined(ctx context.Context, p events.Partition, limit int) ([]QuarantinedRun, error)
	// Write applies all changes or, after a crash, none or all of them.
	Write(ctx context.Context, p events.Partition, c Changes) error
}

// Newest is the newest run of a workflow id.
type Newest struct {
	RunID  events.RunID
	Status events.Status
}

// KeptAnswer is an answer with the time it was given.
type KeptAnswer struct {
	Answer events.Answer
	At     events.Time
}

// Ended is an ended run and when it may be forgotten.
type Ended struct {
	RunID      events.RunID
	WorkflowID events.WorkflowID
	Namespace  events.Namespace
	Forget     events.Time
}

// QuarantinedRun is a run that is not worked on until it is released.
type QuarantinedRun struct {
	RunID      events.RunID
	WorkflowID events.WorkflowID
	Namespace  events.Namespace
	Reason     string
	Since      events.Time
}

// Checkpoint says from where the log is folded at recovery: all rows include everything below Next, which rises from each
// checkpoint of a partition to the next. State is opaque to the store (the partition's own state, such as sessions and the
// clock), at most 1 MiB.
type Checkpoint struct {
	Next  events.Seq
	State []byte
}

// Changes are rows to put and delete, no row both at once. Nil and empty fields change nothing. A store may keep the answers as
// they are: nobody changes them after Write. What it keeps of bytes it copies.
type Changes struct {
	PutRuns       []RunRow
	DeleteRuns    []events.RunID // with its answers
	PutNewest     []NewestRow
	DeleteNewest  []NewestRow // deleted only while it still names that run
	PutAnswers    []AnswerRow
	DeleteAnswers []AnswerRow
	PutEnded      []Ended
	DeleteEnded   []Ended
	// PutQuarantined and DeleteQuarantined keep the list of quarantined runs; deletion looks at RunID only.
	PutQuarantined    []QuarantinedRun
	DeleteQuarantined []events.RunID
	Checkpoint        *Checkpoint
}

// RunRow is the encoded state of a run.
type RunRow struct {
	RunID events.RunID
	Row   []byte
}

// NewestRow names the newest run of a workflow id.
type NewestRow struct {
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	Newest
}

// AnswerRow is an answer kept for a request to a run.
type AnswerRow struct {
	RunID   events.RunID
	Request events.RequestID
	KeptAnswer
}
