package worker

import (
	"testing"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// What is said while there is no stream must not pile up, however long that lasts.
func TestOutboxIsBoundedWhileThereIsNoStream(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	ref := &apiv1.AttemptRef{RunId: "r", Step: 1, Attempt: 1}
	for range 1000 {
		o.say(func(r *apiv1.WorkRequest) { r.EvictedRunIds = append(r.EvictedRunIds, "r") })
		o.beat(&apiv1.TaskHeartbeat{Task: ref, Details: &apiv1.Payload{Data: []byte("details")}})
		o.beat(&apiv1.TaskHeartbeat{Task: ref})
	}
	o.restart()
	batch := o.next()
	if n := proto.Size(batch); n > 100 {
		t.Errorf("%d bytes are said after an outage: %v", n, batch)
	}
	if len(batch.GetHeartbeats()) != 1 || batch.GetHeartbeats()[0].GetDetails() == nil {
		t.Errorf("got heartbeats %v, want the last details", batch.GetHeartbeats())
	}
	if again := o.next(); again != nil {
		t.Errorf("said again: %v", again)
	}
}

func TestAResultIsSaidOnceAStreamAndNotAfterItsAcknowledgement(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	ref := &apiv1.AttemptRef{RunId: "r", Step: 1, Attempt: 1}
	o.restart()
	o.result(&apiv1.TaskResult{Task: ref})
	if n := len(o.next().GetTaskResults()); n != 1 {
		t.Fatalf("%d results, want 1", n)
	}
	o.restart()
	o.acknowledge([]*apiv1.AttemptRef{ref}, nil) // between the streams
	if batch := o.next(); batch != nil {
		t.Errorf("said after the acknowledgement: %v", batch)
	}
}
