package flowtest

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// Replay runs the code of a recorded run against its history, in the canonical JSON form that `continuo workflow history
// --output json`, the REST API and [Env.History] give, and fails the test when the code does not do what it did: with the event,
// the call that was wanted, the call that was found and its source lines. No task is run.
//
// Keep histories of real runs beside the tests, and a change that would strand open runs is found before it is deployed.
func Replay(t testing.TB, history []byte, bindings ...flow.Binding) {
	t.Helper()
	info, records, err := events.UnmarshalHistory(history)
	if err != nil {
		t.Fatalf("flowtest: the history cannot be read: %v", err)
	}
	registry, err := flow.NewRegistry(bindings...)
	if err != nil {
		t.Fatal(err)
	}
	err = check(records, func() (*replay.Run, error) {
		return registry.NewRun(flow.RunConfig{Type: info.Type, WorkflowID: info.WorkflowID, RunID: info.RunID})
	})
	if err != nil {
		t.Errorf("flowtest: %v", err)
	}
}
