package wire

import (
	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// statuses pairs the states of a run; unknown is left out on purpose, it is the zero value on both sides.
var statuses = map[events.Status]apiv1.Status{
	events.StatusRunning:    apiv1.Status_STATUS_RUNNING,
	events.StatusCompleted:  apiv1.Status_STATUS_COMPLETED,
	events.StatusFailed:     apiv1.Status_STATUS_FAILED,
	events.StatusCancelled:  apiv1.Status_STATUS_CANCELLED,
	events.StatusTerminated: apiv1.Status_STATUS_TERMINATED,
	events.StatusTimedOut:   apiv1.Status_STATUS_TIMED_OUT,
}

// ToRunStatus converts the state of a run; unknown states give STATUS_UNSPECIFIED.
func ToRunStatus(s events.Status) apiv1.Status { return statuses[s] }

// FromRunStatus converts the state of a run; those this build does not know give StatusUnknown.
func FromRunStatus(s apiv1.Status) events.Status {
	for status := events.StatusRunning; status <= events.StatusTimedOut; status++ {
		if statuses[status] == s {
			return status
		}
	}
	return events.StatusUnknown
}

// ToIDPolicy converts a policy.
func ToIDPolicy(p events.IDPolicy) apiv1.IDPolicy { return apiv1.IDPolicy(p) + 1 }

// FromIDPolicy converts a policy; unspecified means to refuse while a run is open.
func FromIDPolicy(p apiv1.IDPolicy) (events.IDPolicy, error) {
	switch p {
	case apiv1.IDPolicy_ID_POLICY_UNSPECIFIED, apiv1.IDPolicy_ID_POLICY_REJECT_OPEN:
		return events.IDRejectOpen, nil
	case apiv1.IDPolicy_ID_POLICY_TERMINATE_OPEN:
		return events.IDTerminateOpen, nil
	case apiv1.IDPolicy_ID_POLICY_ATTACH_OPEN:
		return events.IDAttachOpen, nil
	case apiv1.IDPolicy_ID_POLICY_REJECT_ANY:
		return events.IDRejectAny, nil
	}
	return 0, invalid("id_policy %d is not known to this server", p)
}

// ToOutcome converts the event that ended a run; an event that ends none gives an outcome of a running one. Payloads must
// have been fetched from the blob store before.
func ToOutcome(id events.WorkflowID, run events.RunID, end events.Event) *apiv1.Outcome {
	out := &apiv1.Outcome{WorkflowId: string(id), RunId: run.String(), Status: apiv1.Status_STATUS_RUNNING}
	switch e := end.(type) {
	case events.RunCompleted:
		out.Status, out.Result = apiv1.Status_STATUS_COMPLETED, ToPayload(e.Result)
	case events.RunFailed:
		out.Status, out.Failure = apiv1.Status_STATUS_FAILED, ToFailure(&e.Failure)
	case events.RunCancelled:
		out.Status, out.Failure = apiv1.Status_STATUS_CANCELLED, ToFailure(&e.Failure)
	case events.RunTerminated:
		message := "the run was terminated"
		if e.Reason != "" {
			message += ": " + e.Reason
		}
		out.Status, out.Failure = apiv1.Status_STATUS_TERMINATED, &apiv1.Failure{Code: events.CodeTerminated, Message: message}
	case events.RunTimedOut:
		out.Status = apiv1.Status_STATUS_TIMED_OUT
		out.Failure = &apiv1.Failure{Code: events.CodeRunTimeout, Message: "the run timeout passed"}
	default:
	}
	return out
}

// TaskRef names an attempt of a task on a worker's stream; its namespace is that of the stream.
type TaskRef struct {
	WorkflowID events.WorkflowID
	Task       events.TaskID
	Attempt    events.Attempt
}

// ActivationRef names an attempt of an activation on a worker's stream; its namespace is that of the stream.
type ActivationRef struct {
	WorkflowID events.WorkflowID
	RunID      events.RunID
	Activation uint64
	Attempt    events.Attempt
}

// ToTaskRef converts the name of an attempt.
func ToTaskRef(r TaskRef) *apiv1.AttemptRef {
	return &apiv1.AttemptRef{
		WorkflowId: string(r.WorkflowID), RunId: r.Task.Run.String(), Step: uint64(r.Task.Step), Attempt: uint32(r.Attempt),
	}
}

// FromTaskRef converts the name of an attempt; all of its fields must be set.
func FromTaskRef(r *apiv1.AttemptRef) (TaskRef, error) {
	run, err := requiredRunID(r.GetWorkflowId(), r.GetRunId())
	if err != nil {
		return TaskRef{}, err
	}
	if r.GetStep() == 0 || r.GetAttempt() == 0 {
		return TaskRef{}, invalid("a task of run %s is named without step or attempt; both count from 1", run)
	}
	return TaskRef{
		WorkflowID: events.WorkflowID(r.GetWorkflowId()), Task: events.TaskID{Run: run, Step: events.Step(r.GetStep())},
		Attempt: events.Attempt(r.GetAttempt()),
	}, nil
}

// ToActivationRef converts the name of an attempt of an activation.
func ToActivationRef(r ActivationRef) *apiv1.ActivationRef {
	return &apiv1.ActivationRef{
		WorkflowId: string(r.WorkflowID), RunId: r.RunID.String(), Activation: r.Activation, Attempt: uint32(r.Attempt),
	}
}

// FromActivationRef converts the name of an attempt of an activation; all of its fields must be set.
func FromActivationRef(r *apiv1.ActivationRef) (ActivationRef, error) {
	run, err := requiredRunID(r.GetWorkflowId(), r.GetRunId())
	if err != nil {
		return ActivationRef{}, err
	}
	if r.GetActivation() == 0 || r.GetAttempt() == 0 {
		return ActivationRef{}, invalid("an activation of run %s is named without number or attempt; both count from 1", run)
	}
	return ActivationRef{
		WorkflowID: events.WorkflowID(r.GetWorkflowId()), RunID: run, Activation: r.GetActivation(), Attempt: events.Attempt(r.GetAttempt()),
	}, nil
}

func requiredRunID(workflow, run string) (events.RunID, error) {
	if err := events.WorkflowID(workflow).Validate(); err != nil {
		return events.RunID{}, badID(err)
	}
	id, err := events.ParseRunID(run)
	if err != nil {
		return events.RunID{}, badID(err)
	}
	return id, nil
}
