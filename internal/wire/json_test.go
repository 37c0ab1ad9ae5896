package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
)

func TestMarshalJSON(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]proto.Message{
		`{"run_id":"","value":{"cents":9007199254740993,"a":"<é>"},"updated":"1970-01-01T00:00:01Z"}`: &apiv1.GetViewResponse{
			Value:   &apiv1.Payload{Encoding: "json", Data: []byte(` {"cents":9007199254740993,"a":"<é>"}` + "\n")},
			Updated: &timestamppb.Timestamp{Seconds: 1},
		},
		`{"run_id":"r","value":{"@encoding":"protobuf","@data":"AQI="}}`: &apiv1.GetViewResponse{
			RunId: "r", Value: &apiv1.Payload{Encoding: "protobuf", Data: []byte{1, 2}},
		},
		// JSON that would be read back as another encoding.
		`{"run_id":"","value":{"@encoding":"json","@data":"eyJAZW5jb2RpbmciOjF9"}}`: &apiv1.GetViewResponse{
			Value: &apiv1.Payload{Encoding: "json", Data: []byte(`{"@encoding":1}`)},
		},
		// JSON in name only.
		`{"run_id":"","value":{"@encoding":"json","@data":"ew=="}}`: &apiv1.GetViewResponse{
			Value: &apiv1.Payload{Encoding: "json", Data: []byte(`{`)},
		},
		`{"groups":[{"type":"a","status":"STATUS_RUNNING","runs":18014398509481985}],"total":0}`: &apiv1.CountWorkflowsResponse{
			Groups: []*apiv1.CountWorkflowsResponse_Group{{Type: "a", Status: apiv1.Status_STATUS_RUNNING, Runs: 1<<54 + 1}},
		},
		`{"namespace":"","workflow_id":"","run_id":"","wait":"1.500s"}`: &apiv1.GetResultRequest{Wait: &durationpb.Duration{Seconds: 1, Nanos: 5e8}},
	} {
		got, err := wire.MarshalJSON(m)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
