package events

import "strings"

// Codes of failures made by the suite itself. Users' code may use any other code; these are stable and documented.
const (
	CodeTaskFailed       = "task_failed"       // the task returned an error without a code of its own
	CodeTaskPanicked     = "task_panicked"     // the task's code panicked; retried like any failure
	CodeWorkflowFailed   = "workflow_failed"   // the workflow returned an error without a code of its own
	CodeWorkflowPanicked = "workflow_panicked" // the workflow's code panicked: the activation failed, the run did not
	CodeNonDeterministic = "non_deterministic" // the workflow's code does not fit the run's history
	CodeWorkflowBlocked  = "workflow_blocked"  // the workflow's code neither waited nor ended within the watchdog's time
	CodeStartToClose     = "timeout_start_to_close"
	CodeScheduleToStart  = "timeout_schedule_to_start"
	CodeScheduleToClose  = "timeout_schedule_to_close"
	CodeHeartbeatTimeout = "timeout_heartbeat"
	CodeRunTimeout       = "timeout_run"
	CodeWorkerLost       = "worker_lost"     // the worker vanished in the middle of an attempt
	CodeOutcomeUnknown   = "outcome_unknown" // the only allowed attempt was lost: it may or may not have happened
	CodeTimeout          = "timeout"         // the time that the workflow's code gave itself is over
	CodeBadDefinition    = "bad_definition"  // the workflow's code uses a definition that was refused when it was made
	CodeCancelled        = "cancelled"
	CodeTerminated       = "terminated"
	CodeBadPayload       = "bad_payload"        // a value could not be decoded into the type the code wants
	CodeNotImplemented   = "unimplemented_task" // the worker was given work it has no code for
	CodePayloadTooLarge  = "payload_too_large"
	CodeContinuePending  = "continue_pending_calls" // Continue was returned while calls were open
	CodeRunLimit         = "run_limit"              // the workflow's code would go over a limit of its run
	CodeInvalidProgress  = "invalid_progress"       // a worker's progress breaks the rules: a bug of its SDK
)

// MaxFailureBytes bounds message and details of a failure each, in bytes; longer ones are cut at the edge, with a mark.
const MaxFailureBytes = 32 << 10

// Failure is the error that travels: from task to workflow to client, with its causes.
type Failure struct {
	// Code is for programs: stable, short, snake_case.
	Code string
	// Message is for people.
	Message string
	// Type is the Go type (or another language's) of the original error; informative.
	Type string
	// NonRetryable ends the retries of a task whatever its policy says.
	NonRetryable bool
	// Details is a value of the user's for programs; zero when there is none.
	Details Payload
	// Cause is what led to this failure; nil when unknown. At most 16 deep.
	Cause *Failure
}

// Error returns the message with its code and causes.
func (f *Failure) Error() string {
	var b strings.Builder
	for depth := 0; f != nil && depth < 16; f, depth = f.Cause, depth+1 {
		if depth > 0 {
			b.WriteString(": ")
		}
		b.WriteString(f.Message)
		if f.Code != "" {
			b.WriteString(" [" + f.Code + "]")
		}
	}
	return b.String()
}

// Unwrap returns the cause, so that errors.As finds a failure further down.
func (f *Failure) Unwrap() error {
	if f.Cause == nil {
		return nil
	}
	return f.Cause
}
