package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// A signal whose answer was lost comes again when another run has begun: it was done by the run before, however large it is.
func TestARepeatedSignalMeetsANewerRun(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	for name, input := range map[string]string{"small": `7`, "large": `"` + strings.Repeat("x", 200<<10) + `"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := "repeated-" + name
			first := s.startOrder(id, "1").GetRunId()
			signal := func() {
				t.Helper()
				status, body := s.rest("POST", "/v1/workflows/"+id+"/signals/paid", `{"input":`+input+`}`, "Idempotency-Key", "pay-1")
				if status != http.StatusOK || !strings.Contains(body, first) {
					t.Fatalf("%d %s, want run %s", status, body, first)
				}
			}
			signal()
			if _, err := s.client.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: id}); err != nil {
				t.Fatal(err)
			}
			if second := s.startOrder(id, "1").GetRunId(); second == first {
				t.Fatal("no new run began")
			}
			signal()
		})
	}
}
