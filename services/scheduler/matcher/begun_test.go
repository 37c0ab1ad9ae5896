package matcher

import (
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// TestRunsThatHaveNotBegunAreNotStarved: however many begun runs go on and on, and however few places there are at a time, of 32
// that are served one is a run that has not begun.
func TestRunsThatHaveNotBegunAreNotStarved(t *testing.T) {
	t.Parallel()
	for _, credits := range []int{1, 4, 31, 32, 100} {
		for _, another := range []bool{false, true} {
			m := New(Limits{})
			activation := func(run int, number uint64) {
				m.Open(1, Item{Opened: 1, Activation: &events.OpenActivation{RunID: runID(run), Activation: events.ActivationScheduled{
					Activation: number, Attempt: 1, Type: "a", Queue: "q",
				}}})
			}
			for run := range 120 {
				activation(run, 2)
			}
			activation(200, 1)
			m.Join(1, Worker{Session: 1, ID: "w", Queue: "q", Workflows: []string{"a"}})
			if another { // which has places, and no code for what waits
				m.Join(1, Worker{Session: 1, ID: "v", Queue: "q", Workflows: []string{"b"}})
				m.Credit(1, "v", 0, 10)
			}
			served, at := 0, 0
			for range 1000 {
				m.Credit(1, "w", 0, credits)
				for _, d := range m.Match(1, nil) {
					served++
					if id := d.Item.ID(); id.Run == runID(200) {
						at = served
					} else {
						activation(int(id.Run[15]), d.Item.activation()+1)
					}
				}
			}
			if at != maxPassed+1 {
				t.Errorf("%d places at a time, another worker: %v: served as number %d (0: never), want %d", credits, another, at, maxPassed+1)
			}
		}
	}
}
