package gateway_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

func TestARunFromStartToResult(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	started := s.startOrder("order/1", `{"amount": 42}`)
	if !started.GetStarted() || started.GetToken().GetSeq() == 0 {
		t.Fatalf("start: %v", started)
	}
	first := w.activation()
	records, err := events.DecodeFrame(first.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := records[0].Events[0].(events.RunStarted); !ok || string(e.Input.Data) != `{"amount": 42}` || !first.GetFull() {
		t.Fatalf("the first activation has %+v", records[0])
	}
	w.progress(first, waitForStep1, events.ScheduleTask{Step: 1, Name: "Pay", Input: payload("42")})
	task := w.task()
	if task.GetName() != "Pay" || string(task.GetInput().GetData()) != "42" || task.GetWorkflowType() != "Order" ||
		task.GetStartToClose().AsDuration() != 5*time.Minute {
		t.Fatalf("task: %v", task)
	}
	w.say(&apiv1.WorkRequest{TaskCredits: 1, TaskResults: []*apiv1.TaskResult{{
		Task: task.GetTask(), Outcome: &apiv1.TaskResult_Result{Result: &apiv1.Payload{Encoding: "json", Data: []byte("43")}},
	}}})
	acked, second := false, (*apiv1.ActivationDelivery)(nil)
	w.next(func(r *apiv1.WorkResponse) bool {
		acked = acked || len(r.GetAcknowledgedTasks()) > 0
		if len(r.GetActivations()) > 0 {
			second = r.GetActivations()[0]
		}
		return acked && second != nil
	})
	if second.GetFull() || second.GetBase() == 0 {
		t.Errorf("the second activation of a live run is full: %v", second)
	}
	records, err = events.DecodeFrame(second.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	completed := false
	for _, r := range records {
		for _, e := range r.Events {
			if e, ok := e.(events.TaskCompleted); ok && string(e.Result.Data) == "43" {
				completed = true
			}
		}
	}
	if !completed {
		t.Errorf("the second activation lacks the task's result: %v", records)
	}
	w.progress(second, events.WaitSet{}, events.CompleteRun{Result: payload(`"paid"`)})
	result, err := s.client.GetResult(t.Context(), &apiv1.GetResultRequest{WorkflowId: "order/1", Wait: durationpb.New(10 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if o := result.GetOutcome(); o.GetStatus() != apiv1.Status_STATUS_COMPLETED || string(o.GetResult().GetData()) != `"paid"` || o.GetRunId() != started.GetRunId() {
		t.Errorf("outcome: %v", o)
	}
}
