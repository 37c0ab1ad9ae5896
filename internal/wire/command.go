package wire

import (
	"fmt"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// FromStart reads a start. A missing workflow id or run id stays empty: the gateway makes one. maxPayload bounds the
// input, in bytes.
func FromStart(r *apiv1.StartWorkflowRequest, maxPayload int) (events.Envelope, error) {
	env := events.Envelope{WorkflowID: events.WorkflowID(r.GetWorkflowId())}
	start := events.StartWorkflow{Type: events.WorkflowType(r.GetType()), Queue: events.DefaultTaskQueue}
	if r.GetQueue() != "" {
		start.Queue = events.TaskQueue(r.GetQueue())
	}
	var err error
	if env.Namespace, err = FromNamespace(r.GetNamespace()); err != nil {
		return env, err
	}
	if env.WorkflowID != "" {
		if err = env.WorkflowID.Validate(); err != nil {
			return env, badID(err)
		}
	}
	if env.RunID, err = FromRunID(r.GetRunId()); err != nil {
		return env, err
	}
	if err = start.Type.Validate(); err != nil {
		return env, badID(err)
	}
	if err = start.Queue.Validate(); err != nil {
		return env, badID(err)
	}
	if start.Input, err = FromPayload("input", r.GetInput(), maxPayload); err != nil {
		return env, err
	}
	if start.IDPolicy, err = FromIDPolicy(r.GetIdPolicy()); err != nil {
		return env, err
	}
	if start.RunTimeout, err = FromDuration("run_timeout", r.GetRunTimeout()); err != nil {
		return env, err
	}
	if trace := events.Traceparent(r.GetTraceparent()); trace.Valid() {
		start.Trace = trace
	}
	env.Command = start
	return env, nil
}

// FromSignal reads a signal; maxPayload bounds its input, in bytes.
func FromSignal(r *apiv1.SignalWorkflowRequest, maxPayload int) (events.Envelope, error) {
	env, err := fromTarget(r)
	if err != nil {
		return env, err
	}
	signal := events.SignalWorkflow{Name: events.SignalName(r.GetName())}
	if err = signal.Name.Validate(); err != nil {
		return env, badID(err)
	}
	if signal.Input, err = FromPayload("input", r.GetInput(), maxPayload); err != nil {
		return env, err
	}
	env.Command = signal
	return env, nil
}

// FromCancel reads a cancel.
func FromCancel(r *apiv1.CancelWorkflowRequest) (events.Envelope, error) {
	env, err := fromTarget(r)
	env.Command = events.CancelWorkflow{Reason: r.GetReason()}
	return env, err
}

// FromTerminate reads a terminate.
func FromTerminate(r *apiv1.TerminateWorkflowRequest) (events.Envelope, error) {
	env, err := fromTarget(r)
	env.Command = events.TerminateWorkflow{Reason: r.GetReason()}
	return env, err
}

// FromRelease reads a release.
func FromRelease(r *apiv1.ReleaseWorkflowRequest) (events.Envelope, error) {
	env, err := fromTarget(r)
	env.Command = events.ReleaseRun{Reason: r.GetReason()}
	return env, err
}

// FromTarget reads which run a request means: its workflow id is given, its run id may be (zero means the newest).
func FromTarget(namespace, workflow, run string) (events.Namespace, events.WorkflowID, events.RunID, error) {
	ns, err := FromNamespace(namespace)
	if err != nil {
		return "", "", events.RunID{}, err
	}
	id := events.WorkflowID(workflow)
	if err := id.Validate(); err != nil {
		return "", "", events.RunID{}, badID(err)
	}
	runID, err := FromRunID(run)
	return ns, id, runID, err
}

// FromNamespace reads a namespace; empty means the default one, the only one there is.
func FromNamespace(namespace string) (events.Namespace, error) {
	if namespace == "" || namespace == string(events.DefaultNamespace) {
		return events.DefaultNamespace, nil
	}
	if err := events.Namespace(namespace).Validate(); err != nil {
		return "", badID(err)
	}
	return "", &events.Error{Code: events.NotFound, Message: fmt.Sprintf(
		"there is no namespace %q; use %q or leave it out", namespace, events.DefaultNamespace)}
}

// FromRunID reads a run id; empty gives the zero id.
func FromRunID(run string) (events.RunID, error) {
	if run == "" {
		return events.RunID{}, nil
	}
	id, err := events.ParseRunID(run)
	if err != nil {
		return events.RunID{}, badID(err)
	}
	return id, nil
}

type target interface {
	GetNamespace() string
	GetWorkflowId() string
	GetRunId() string
	GetRequestId() string
}

func fromTarget(r target) (events.Envelope, error) {
	ns, id, run, err := FromTarget(r.GetNamespace(), r.GetWorkflowId(), r.GetRunId())
	if err != nil {
		return events.Envelope{}, err
	}
	request := events.RequestID(r.GetRequestId())
	if err := request.Validate(); err != nil {
		return events.Envelope{}, badID(err)
	}
	return events.Envelope{Namespace: ns, WorkflowID: id, RunID: run, RequestID: request}, nil
}

// ToCall makes the call on a client's stream that asks for a client's command. It fails for commands that clients do not
// send. The caller sets the call's number, and a start's wait if it wants one.
func ToCall(env events.Envelope) (*apiv1.ClientCall, error) {
	ns, id, run, request := string(env.Namespace), string(env.WorkflowID), env.RunID.String(), string(env.RequestID)
	switch c := env.Command.(type) {
	case events.StartWorkflow:
		return &apiv1.ClientCall{Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{
			Namespace: ns, WorkflowId: id, RunId: run, Type: string(c.Type), Queue: string(c.Queue), Input: ToPayload(c.Input),
			IdPolicy: ToIDPolicy(c.IDPolicy), RunTimeout: ToDuration(c.RunTimeout),
			Traceparent: string(c.Trace),
		}}}, nil
	case events.SignalWorkflow:
		return &apiv1.ClientCall{Request: &apiv1.ClientCall_Signal{Signal: &apiv1.SignalWorkflowRequest{
			Namespace: ns, WorkflowId: id, RunId: run, RequestId: request, Name: string(c.Name), Input: ToPayload(c.Input),
		}}}, nil
	case events.CancelWorkflow:
		return &apiv1.ClientCall{Request: &apiv1.ClientCall_Cancel{Cancel: &apiv1.CancelWorkflowRequest{
			Namespace: ns, WorkflowId: id, RunId: run, RequestId: request, Reason: c.Reason,
		}}}, nil
	case events.TerminateWorkflow:
		return &apiv1.ClientCall{Request: &apiv1.ClientCall_Terminate{Terminate: &apiv1.TerminateWorkflowRequest{
			Namespace: ns, WorkflowId: id, RunId: run, RequestId: request, Reason: c.Reason,
		}}}, nil
	default:
		return nil, invalid("%T is not a command of the client stream", env.Command)
	}
}
