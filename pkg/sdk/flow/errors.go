package flow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Errors to be compared with errors.Is.
var (
	// ErrCancelled is what waiting calls return when their context was cancelled. A workflow that returns it (wrapped or
	// not) after its run was asked to cancel ends as cancelled.
	ErrCancelled = replay.ErrCancelled
	// ErrTimeout is what waiting calls return when the time of [WithTimeout] is over. A [TaskError] or [RunError] that was
	// caused by any timeout matches it, too.
	ErrTimeout = replay.ErrTimeout
	// ErrTerminated matches the [RunError] of a run that was terminated.
	ErrTerminated = errors.New("flow: terminated")
)

// None is the input of what takes none and the result of what returns none.
type None = payload.None

// Fail returns an error with a code: a workflow that returns it ends its run with that code, which clients and programs can
// tell from others.
func Fail(code, message string) *task.Error { return task.Failure(code, message) }

// TaskError says that a task or step failed for good. Use errors.As to find it.
type TaskError struct {
	// Task is the durable name of the task, or the label of the step.
	Task string
	// ID names the call.
	ID events.TaskID
	// Code is for programs: the task's own, or one of the suite's such as task_failed or timeout_schedule_to_close.
	Code string
	// Message is the text of the task's error.
	Message string
	// Type is the type of the original error in the language of the task; informative.
	Type string

	failure  *events.Failure
	payloads payload.Converter
}

// Error names the task, and gives message, code and causes.
func (e *TaskError) Error() string {
	return fmt.Sprintf("task %q failed: %s", e.Task, e.failure.Error())
}

// Unwrap returns the cause, as far as it is known.
func (e *TaskError) Unwrap() error { return e.failure.Unwrap() }

// Failure returns the failure as it was recorded.
func (e *TaskError) Failure() *events.Failure {
	f := *e.failure
	return &f
}

// Details decodes the value that the task gave with its error into the value that into points to; false means there is
// none.
func (e *TaskError) Details(into any) (bool, error) {
	if e.failure.Details.IsZero() {
		return false, nil
	}
	return true, e.payloads.Decode(e.failure.Details, into)
}

// Is makes errors.Is find [ErrTimeout] and [ErrCancelled] by the code.
func (e *TaskError) Is(target error) bool { return codeIs(e.Code, target) }

func codeIs(code string, target error) bool {
	return errors.Is(target, ErrTimeout) && (code == events.CodeTimeout || strings.HasPrefix(code, "timeout_")) ||
		errors.Is(target, ErrCancelled) && code == events.CodeCancelled ||
		errors.Is(target, ErrTerminated) && code == events.CodeTerminated
}

// RunError says that a run did not complete. Use errors.As to find it.
type RunError struct {
	Run    RunRef
	Status events.Status
	// Code is that of the failure; cancelled, terminated or timeout_run when the run was ended from outside.
	Code    string
	Message string

	failure  *events.Failure
	payloads payload.Converter
}

// Error names the run and says how it ended.
func (e *RunError) Error() string {
	s := fmt.Sprintf("run %s of workflow %q: %s", e.Run.RunID, e.Run.WorkflowID, e.Status)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Code != "" {
		s += " [" + e.Code + "]"
	}
	return s
}

// Unwrap returns the failure with its causes, nil when there is none.
func (e *RunError) Unwrap() error {
	if e.failure == nil {
		return nil
	}
	return e.failure
}

// Failure returns the failure as it was recorded, or one with the code of the run's end.
func (e *RunError) Failure() *events.Failure {
	if e.failure == nil {
		return &events.Failure{Code: e.Code, Message: e.Error()}
	}
	f := *e.failure
	return &f
}

// Details decodes the value that the workflow gave with its error into the value that into points to; false means there is
// none.
func (e *RunError) Details(into any) (bool, error) {
	if e.failure == nil || e.failure.Details.IsZero() {
		return false, nil
	}
	return true, e.payloads.Decode(e.failure.Details, into)
}

// Is makes errors.Is find [ErrCancelled], [ErrTimeout] and [ErrTerminated].
func (e *RunError) Is(target error) bool { return codeIs(e.Code, target) }

// DefinitionError says that a definition was refused when it was made. [NewRegistry] and the first use report it.
type DefinitionError struct {
	// Name is the durable name, as far as it is known.
	Name   string
	Reason string
}

// Error names the definition and the reason.
func (e *DefinitionError) Error() string {
	if e.Name == "" {
		return "flow: " + e.Reason
	}
	return fmt.Sprintf("flow: %s: %s", e.Name, e.Reason)
}

// FailureCode is the code of an activation that failed because of the definition.
func (e *DefinitionError) FailureCode() string { return events.CodeBadDefinition }

func refused(name, format string, args ...any) error {
	return &DefinitionError{Name: name, Reason: fmt.Sprintf(format, args...)}
}
