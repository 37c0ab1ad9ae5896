package gateway_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
)

func TestStatistics(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 30, 30, 0, time.UTC)
	failure := &events.Failure{Code: "declined", Message: "card 7"}
	of := row.Outcome{Namespace: "default", WorkflowID: "order/1", RunID: events.RunID{1}, Type: "Order", Name: "Pay", Time: events.TimeOf(now)}
	var outcomes []row.Outcome
	for i, kind := range []row.OutcomeKind{row.TaskRetried, row.TaskDone, row.TaskFailed} {
		o := of
		o.Kind, o.Time = kind, o.Time.Add(time.Duration(i)*time.Hour)
		if kind == row.TaskDone {
			o.Took = 2_000_000
		} else {
			o.Failure = failure
		}
		outcomes = append(outcomes, o)
	}
	s := start(t, settings{deps: func(d *gateway.Deps) {
		if err := d.Reader.(readmodel.Writer).Apply(t.Context(), readmodel.Batch{Outcomes: outcomes}); err != nil {
			t.Fatal(err)
		}
	}})
	tasks, err := s.client.GetTaskStats(t.Context(), &apiv1.GetTaskStatsRequest{
		Type: "Order", Task: "Pay", From: timestamppb.New(now), To: timestamppb.New(now.Add(time.Hour + time.Second)), Every: durationpb.New(time.Hour),
	})
	if err != nil || len(tasks.GetRows()) != 2 || tasks.GetWatermark() == nil {
		t.Fatalf("tasks: %v %v", tasks, err)
	}
	if r := tasks.GetRows()[0]; r.GetRetried() != 1 || r.GetDone() != 0 || !r.GetStart().AsTime().Equal(now.Truncate(time.Hour)) {
		t.Errorf("the first hour: %v", r)
	}
	if r := tasks.GetRows()[1]; r.GetDone() != 1 || r.GetP99().AsDuration() != 2*time.Second || r.GetMax().AsDuration() != 2*time.Second || r.GetTask() != "Pay" {
		t.Errorf("the second hour: %v", r)
	}
	top, err := s.client.GetTopErrors(t.Context(), &apiv1.GetTopErrorsRequest{Limit: 5})
	if err != nil || len(top.GetRows()) != 1 {
		t.Fatalf("errors: %v %v", top, err)
	}
	if r := top.GetRows()[0]; r.GetCount() != 2 || r.GetPlace() != "task" || r.GetMessage() != "card #" || r.GetWorkflowId() != "order/1" || !r.GetLast().AsTime().Equal(now.Add(2*time.Hour)) {
		t.Errorf("errors: %v", r)
	}
	for name, ask := range map[string]func() error{
		"half a minute": func() error {
			_, err := s.client.GetTaskStats(t.Context(), &apiv1.GetTaskStatsRequest{Every: durationpb.New(30 * time.Second)})
			return err
		},
		"a negative limit": func() error {
			_, err := s.client.GetTopErrors(t.Context(), &apiv1.GetTopErrorsRequest{Limit: -1})
			return err
		},
	} {
		if err := ask(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
