package row

import (
	"strings"
	"unicode/utf8"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Event is one event of a run's history, for models that keep all of them.
type Event struct {
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Type       events.WorkflowType // of the run; empty when its start is not known
	Partition  events.Partition
	Seq        events.Seq // of its record
	Number     events.EventNumber
	Time       events.Time
	// Name and Took are those of the outcome that the event is, if it is one.
	Name  events.TaskName
	Took  int64
	Event events.Event
}

// OutcomeKind says what came out.
type OutcomeKind uint8

// The outcomes that statistics are made of.
const (
	// TaskDone is a task that ended with a result.
	TaskDone OutcomeKind = iota + 1
	// TaskFailed is a task that ended with a failure.
	TaskFailed
	// TaskRetried is an attempt that failed and is followed by another.
	TaskRetried
	// StepFailed is a step in workflow code that failed, to be tried again or for good.
	StepFailed
	// CodeFailed is workflow code that could not be run, to be tried again.
	CodeFailed
	// RunFailed is a run that ended with a failure.
	RunFailed
)

// String returns the stable lower-case name of where a failure is, such as "task"; attempts of tasks and tasks share one.
func (k OutcomeKind) String() string {
	switch k {
	case TaskDone, TaskFailed, TaskRetried:
		return "task"
	case StepFailed:
		return "step"
	case CodeFailed:
		return "code"
	case RunFailed:
		return "run"
	}
	return "unknown"
}

// Outcome is one fact that statistics are made of.
type Outcome struct {
	Kind       OutcomeKind
	Namespace  events.Namespace
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Number     events.EventNumber
	Type       events.WorkflowType
	// Name is that of the task or step; empty for the others, and for a task that was not listed in the row.
	Name events.TaskName
	Time events.Time
	// Took is how long the attempt of a done task took in µs, from when it could begin: the wait for a worker is part of it.
	Took int64
	// Failure is nil for a done task.
	Failure   *events.Failure
	Partition events.Partition
	// Seq is that of the record. 0 means history read outside of the order of the log, which no model has counted yet.
	Seq events.Seq
}

// maxMessage bounds a fingerprint, in bytes.
const maxMessage = 200

// Fingerprint is a message without what differs between occurrences: its first line, each run of digits as one #, at most
// 200 bytes.
func Fingerprint(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	var b strings.Builder
	digit := false
	for _, c := range line {
		was := digit
		if digit = c >= '0' && c <= '9'; digit {
			if was {
				continue
			}
			c = '#'
		}
		if b.Len()+utf8.RuneLen(c) > maxMessage {
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}
