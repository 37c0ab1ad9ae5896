package readmodel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// StatsKept is how long statistics are kept at least, by the time of the log.
const StatsKept = 30 * 24 * time.Hour

// Bounds of the answers of statistics.
const (
	MaxStats         = 10_000
	DefaultTopErrors = 20
	MaxTopErrors     = 1000
)

// ErrBadStats says that statistics cannot be asked for so.
var ErrBadStats = errors.New("statistics are not kept so")

// ErrTooMuch says that an answer would be too large: ask for less time, longer spans, or one type.
var ErrTooMuch = errors.New("the answer has too many rows")

// StatsFilter selects outcomes of tasks; zero fields select all. Statistics are kept by the minute: From is rounded down to
// one, and To up.
type StatsFilter struct {
	Namespace events.Namespace
	Type      events.WorkflowType
	Task      events.TaskName
	From      events.Time // inclusive
	To        events.Time // exclusive
	// Every is the length of the spans that the answer has rows for, whole minutes; 0 means one row for all the time.
	Every time.Duration
}

// StepStats are what became of a task in a span of time. Durations are of those done, from when the attempt could begin to
// its result, at most 2 % too high.
type StepStats struct {
	Start                    events.Time // of the span; 0 when it is all the time
	Type                     events.WorkflowType
	Task                     events.TaskName
	Done, Failed, Retried    uint64 // tasks done, tasks failed, attempts that failed and were followed by another
	Mean, P50, P95, P99, Max time.Duration
}

// Minutes returns the filter's time as minutes: from the first on, before the second; 0 means no bound.
func (f StatsFilter) Minutes() (from, to events.Time) {
	return row.Floor(f.From, row.Minute), row.Floor(f.To+row.Minute-1, row.Minute)
}

// Fits reports whether outcomes of a key are selected.
func (f StatsFilter) Fits(k row.StepKey) bool {
	from, to := f.Minutes()
	return (f.Namespace == "" || k.Namespace == f.Namespace) && (f.Type == "" || k.Type == f.Type) && (f.Task == "" || k.Task == f.Task) &&
		(f.From == 0 || k.Minute >= from) && (f.To == 0 || k.Minute < to)
}

// StepTally makes the answer out of what a model has.
type StepTally struct {
	every  events.Time
	counts map[row.StepKey]row.Steps
}

// NewStepTally begins an answer. An error says what is wrong with the filter.
func NewStepTally(f StatsFilter) (*StepTally, error) {
	if f.Every < 0 || f.Every%time.Minute != 0 {
		return nil, fmt.Errorf("%w: spans of %s; whole minutes are allowed", ErrBadStats, f.Every)
	}
	return &StepTally{every: events.Time(f.Every / time.Microsecond), counts: map[row.StepKey]row.Steps{}}, nil
}

// Add adds what the model has of a key, which the filter selects.
func (t *StepTally) Add(k row.StepKey, s *row.Steps) {
	k.Namespace = ""
	if t.every == 0 {
		k.Minute = 0
	} else {
		k.Minute = row.Floor(k.Minute, t.every)
	}
	have, ok := t.counts[k]
	if !ok {
		t.counts[k] = s.Clone()
		return
	}
	have.Merge(s)
	t.counts[k] = have
}

// Stats returns the answer.
func (t *StepTally) Stats() ([]StepStats, error) {
	if len(t.counts) > MaxStats {
		return nil, fmt.Errorf("%w: %d, at most %d are given: ask for less time, longer spans, or one type", ErrTooMuch, len(t.counts), MaxStats)
	}
	var out []StepStats
	for _, k := range slices.SortedFunc(maps.Keys(t.counts), row.StepKey.Compare) {
		s := t.counts[k]
		one := StepStats{Start: k.Minute, Type: k.Type, Task: k.Task, Done: s.Done, Failed: s.Failed, Retried: s.Retried}
		if s.Done > 0 {
			one.Mean = micros(s.Sum / int64(s.Done))
		}
		one.P50, one.P95, one.P99, one.Max = micros(s.Percentile(0.5)), micros(s.Percentile(0.95)), micros(s.Percentile(0.99)), micros(s.Max)
		out = append(out, one)
	}
	return out, nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// ErrorFilter selects failures; zero fields select all. They are counted by the hour: From is rounded down to one, and To
// up.
type ErrorFilter struct {
	Namespace events.Namespace
	Type      events.WorkflowType
	From      events.Time // inclusive
	To        events.Time // exclusive
	Limit     int         // 1 to [MaxTopErrors]; 0 means [DefaultTopErrors]
}

// ErrorCount is a kind of failure and how often it was.
type ErrorCount struct {
	// Of is where it is: "task", "step", "code" or "run".
	Of   string
	Type events.WorkflowType
	Name events.TaskName // of the task or step
	Code string
	// Message is the first line of the message without its numbers, so that messages that differ in them only are one kind.
	Message string
	row.Errors
}

// Hours returns the filter's time as hours: from the first on, before the second; 0 means no bound.
func (f ErrorFilter) Hours() (from, to events.Time) {
	return row.Floor(f.From, row.Hour), row.Floor(f.To+row.Hour-1, row.Hour)
}

// Fits reports whether failures of a key are selected.
func (f ErrorFilter) Fits(k row.ErrorKey) bool {
	from, to := f.Hours()
	return (f.Namespace == "" || k.Namespace == f.Namespace) && (f.Type == "" || k.Type == f.Type) &&
		(f.From == 0 || k.Hour >= from) && (f.To == 0 || k.Hour < to)
}

// Size checks the limit and returns it.
func (f ErrorFilter) Size() (int, error) {
	switch {
	case f.Limit == 0:
		return DefaultTopErrors, nil
	case f.Limit < 0 || f.Limit > MaxTopErrors:
		return 0, fmt.Errorf("%w: its limit is %d; 1 to %d are allowed", ErrBadStats, f.Limit, MaxTopErrors)
	}
	return f.Limit, nil
}

// ErrorTally makes the answer out of what a model has.
type ErrorTally struct {
	limit  int
	counts map[row.ErrorKey]row.Errors
}

// NewErrorTally begins an answer. An error says what is wrong with the filter.
func NewErrorTally(f ErrorFilter) (*ErrorTally, error) {
	limit, err := f.Size()
	return &ErrorTally{limit: limit, counts: map[row.ErrorKey]row.Errors{}}, err
}

// Add adds what the model has of a key, which the filter selects.
func (t *ErrorTally) Add(k row.ErrorKey, e *row.Errors) {
	k.Namespace, k.Hour = "", 0
	have := t.counts[k]
	have.Merge(e)
	t.counts[k] = have
}

// Top returns the answer.
func (t *ErrorTally) Top() []ErrorCount {
	var out []ErrorCount
	for k, e := range t.counts {
		out = append(out, ErrorCount{Of: k.Of, Type: k.Type, Name: k.Name, Code: k.Code, Message: k.Message, Errors: e})
	}
	slices.SortFunc(out, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return out[:min(len(out), t.limit)]
}
