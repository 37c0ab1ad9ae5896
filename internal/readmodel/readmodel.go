// Package readmodel is the port of what readers search: one row per run and the views runs publish.
//
// A read model is a fold of the event log up to a position. It can be dropped and built again while the suite runs; the
// engine never waits for it. Every answer carries its watermark, which says what is included at least: a model that is
// built from an archive has rows, each of a whole history, before it has positions.
package readmodel

import (
	"context"
	"errors"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// ErrNotFound says that the read model has no such run or view (yet: look at the watermark).
var ErrNotFound = errors.New("not in the read model")

// ErrBadPage says that a page token is not of this read model or of another query.
var ErrBadPage = errors.New("the page token does not fit the query")

// ErrUnavailable says that the model cannot be read or written now, as when its disk fails; trying again may help.
var ErrUnavailable = errors.New("the read model is not available")

// ErrDamaged says that the stored model cannot be read by this build: it is broken, foreign or of another version. Nothing
// works but Reset, after which it is built anew from the log and the archive.
var ErrDamaged = errors.New("the read model cannot be used")

// Model is the whole port.
type Model interface {
	Writer
	Reader
}

// Position is how far a partition has been folded: Next is the first sequence number that is not included.
type Position struct {
	Partition events.Partition
	Next      events.Seq
	// Time is that of the last record included; it tells the age of an answer.
	Time events.Time
}

// Batch is one atomic write: rows, deletions and the positions they bring the model to.
type Batch struct {
	Rows []row.Run
	// Begun is how many of Rows, the first ones, are of runs that began with this batch: they are not in the model yet, unless
	// it knows more than its positions say. It changes nothing but the cost.
	Begun     int
	Deletes   []events.RunID // purged runs
	Positions []Position
	// Outcomes are what statistics count, of a partition in the order of its log. One whose Seq the model's position of its
	// partition includes already is not counted again; neither is anything of a batch that is applied again after an error.
	Outcomes []row.Outcome
	// Events are those of the records, for a model that is a [Historian].
	Events []row.Event
}

// Historian is a [Writer] that keeps every event. Others get none.
type Historian interface {
	Writer
	// KeepsEvents reports whether batches are to have events.
	KeepsEvents() bool
}

// Writer is what a projector needs. Its methods are called by one goroutine.
type Writer interface {
	// Apply writes a batch, all or nothing. A row whose Version is not above the stored one changes nothing. It keeps no
	// reference to the batch: the caller folds further events into its rows.
	Apply(ctx context.Context, b Batch) error
	// Rows returns the stored rows of the given runs, those that exist, to fold further events into.
	Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error)
	// Positions returns how far the model is; empty when it is new.
	Positions(ctx context.Context) ([]Position, error)
	// Reset drops everything.
	Reset(ctx context.Context) error
}

// Renewable is a [Model] that can be built anew beside the one that answers. A projector looks for wishes, builds, and exchanges
// while it does not write.
type Renewable interface {
	Model
	// AskRebuild notes a wish, which any process may have.
	AskRebuild(ctx context.Context) error
	// RebuildAsked returns the newest wish that is not fulfilled; 0 means none.
	RebuildAsked(ctx context.Context) (wish uint64, err error)
	// Beside returns an empty model beside this one. There is one at a time: what an earlier one has is dropped. It is the
	// caller's to close if it is an io.Closer.
	Beside(ctx context.Context) (Model, error)
	// Exchange lets a model made by Beside, whose positions are nowhere lower, take the place of this one, and fulfils the
	// wish. Nobody may write either meanwhile. After an error either may stand; the wish is not fulfilled, unless the error
	// says so.
	Exchange(ctx context.Context, with Model, wish uint64) error
}

// Filter selects runs; zero fields select all.
type Filter struct {
	Namespace        events.Namespace
	Type             events.WorkflowType
	Statuses         []events.Status
	WorkflowID       events.WorkflowID
	WorkflowIDPrefix string
	StartedFrom      events.Time // inclusive
	StartedTo        events.Time // exclusive
	Quarantined      bool        // only runs in quarantine
}

// Page asks for a part of a list. Limit is 1 to [MaxPage]; 0 means [DefaultPage]. Token is the NextToken of the page before;
// it is bound to the filter. What begins while somebody pages is not seen by them; nothing comes twice.
type Page struct {
	Limit int
	Token string
}

// List is a page of runs, newest start first, runs of the same start by falling run id. The rows have identity, status,
// times and counts only: no result, failure, views, or what the run waits for.
type List struct {
	Runs      []row.Run
	NextToken string // empty at the end
}

// Count is a number of runs per type and status.
type Count struct {
	Type   events.WorkflowType
	Status events.Status
	Runs   int64
}

// Reader is what answers queries. Its methods may be called from any goroutine. Reading never blocks the writer.
type Reader interface {
	// Run returns one run in full; a zero run id means the newest of the workflow id. A run id of another workflow id is
	// ErrNotFound.
	Run(ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID) (row.Run, error)
	// View returns one view of a run; a zero run id means the newest of the workflow id.
	View(ctx context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID, name events.ViewName) (row.View, error)
	// List returns a page of the runs that fit.
	List(ctx context.Context, f Filter, p Page) (List, error)
	// Count counts the runs that fit, by type and status, sorted by type, then status; zero counts are left out.
	Count(ctx context.Context, f Filter) ([]Count, error)
	// StepStats returns what became of tasks, by span of time, workflow type and task, in that order. An error wraps
	// [ErrTooMuch] if there is more than [MaxStats].
	StepStats(ctx context.Context, f StatsFilter) ([]StepStats, error)
	// TopErrors returns the most frequent kinds of failures, most frequent first.
	TopErrors(ctx context.Context, f ErrorFilter) ([]ErrorCount, error)
	// Watermark returns how far the model is.
	Watermark(ctx context.Context) ([]Position, error)
	// WaitFor returns when the partition is folded up to and including seq, or with ctx's error.
	WaitFor(ctx context.Context, p events.Partition, seq events.Seq) error
}
