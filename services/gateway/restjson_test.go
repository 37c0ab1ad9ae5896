package gateway

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

func TestRESTJSONForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		message proto.Message
		want    string
	}{
		{
			&apiv1.StartWorkflowResponse{WorkflowId: "w<1>", Token: &apiv1.Token{Partition: 3, Seq: 9007199254740993}},
			`{"workflow_id":"w\u003c1\u003e","run_id":"","started":false,"accepted":false,"token":{"partition":3,"seq":9007199254740993}}`,
		},
		{
			&apiv1.GetViewResponse{Value: &apiv1.Payload{Encoding: "json", Data: []byte(" {\"a\": 1.10}\n")}, Updated: &timestamppb.Timestamp{Seconds: 1}},
			`{"run_id":"","value":{"a": 1.10},"updated":"1970-01-01T00:00:01Z"}`,
		},
		{
			&apiv1.GetViewResponse{Value: &apiv1.Payload{Encoding: "json", Data: []byte(`{"@encoding":"x"}`)}},
			`{"run_id":"","value":{"@encoding":"json","@data":"eyJAZW5jb2RpbmciOiJ4In0="}}`,
		},
		{
			&apiv1.GetViewResponse{Value: &apiv1.Payload{Encoding: "json", Data: []byte(`{broken`)}},
			`{"run_id":"","value":{"@encoding":"json","@data":"e2Jyb2tlbg=="}}`,
		},
		{&apiv1.ListQueuesResponse{}, `{"queues":[]}`},
		{
			&apiv1.CountWorkflowsResponse{Groups: []*apiv1.CountWorkflowsResponse_Group{{Type: "T", Status: apiv1.Status_STATUS_FAILED, Runs: -1}}, Total: 1},
			`{"groups":[{"type":"T","status":"STATUS_FAILED","runs":-1}],"total":1}`,
		},
	} {
		got, err := restJSON{}.Marshal(c.message)
		if err != nil || string(got) != c.want {
			t.Errorf("%v\n got %s\nwant %s", err, got, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
	}
}

// Whatever a body is, it is taken or refused; what is taken comes out the same after another round, and an input that is
// JSON keeps its bytes.
func FuzzRESTJSON(f *testing.F) {
	for _, seed := range []string{
		`{"type":"Order","input":{"a":[1,2.50,"x"]}}`, `{"input":{"@encoding":"x","@data":"AAEC"}}`, `{"input":null}`, `{"runTimeout":"1.5s"}`,
		`{"run_timeout":"1.5s","id_policy":"ID_POLICY_ATTACH_OPEN"}`, `{`, `[]`, `{"input":{"@encoding":1}}`, `{"input":"\ud800"}`, `{"type":"a","type":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var first apiv1.StartWorkflowRequest
		if err := (restJSON{}).Unmarshal(body, &first); err != nil {
			return
		}
		text, err := restJSON{}.Marshal(&first)
		if err != nil {
			t.Fatalf("%q was taken as %v and cannot be written: %v", body, &first, err)
		}
		var second apiv1.StartWorkflowRequest
		if err := (restJSON{}).Unmarshal(text, &second); err != nil {
			t.Fatalf("%q was written as %s, which is refused: %v", body, text, err)
		}
		if in := first.GetInput(); in.GetEncoding() == "json" {
			in.Data, second.Input.Data = bytes.TrimSpace(in.GetData()), bytes.TrimSpace(second.GetInput().GetData())
		}
		if !proto.Equal(&first, &second) {
			t.Fatalf("%q\nfirst  %v\nsecond %v", body, &first, &second)
		}
	})
}

func TestRESTJSONDurations(t *testing.T) {
	t.Parallel()
	var r apiv1.StartWorkflowRequest
	if err := (restJSON{}).Unmarshal([]byte(`{"run_timeout":"90s"}`), &r); err != nil || !proto.Equal(r.GetRunTimeout(), durationpb.New(90e9)) {
		t.Errorf("%v %v", err, &r)
	}
}
