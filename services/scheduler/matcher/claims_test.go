package matcher

import (
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Claims that came too late must neither pile up nor keep later ones out.
func TestTheOldestClaimsAreForgotten(t *testing.T) {
	t.Parallel()
	c := newClaims(8)
	for n := range 100 {
		c.put(ID{Run: runID(n)}, claim{session: 1, attempt: events.Attempt(n)})
		c.put(ID{Run: runID(n)}, claim{session: 2, attempt: events.Attempt(n)}) // said again
		for recent := max(0, n-3); recent <= n; recent++ {
			if got, ok := c.get(ID{Run: runID(recent)}); !ok || got.session != 2 || got.attempt != events.Attempt(recent) {
				t.Fatalf("after %d claims that of %d is %+v, %v", n+1, recent, got, ok)
			}
		}
		if kept := len(c.recent) + len(c.older); kept > 8 {
			t.Fatalf("%d claims are kept, the limit is 8", kept)
		}
	}
	c.drop(ID{Run: runID(98)})
	if c.has(ID{Run: runID(98)}) || !c.has(ID{Run: runID(99)}) {
		t.Error("one claim was to be dropped")
	}
	c.dropAll(2)
	if kept := len(c.recent) + len(c.older); kept != 0 {
		t.Errorf("%d claims are left of a session that is gone", kept)
	}
}

// A session speaks first of some work again and again, as one does whose scheduler is behind: nothing of it stays.
func TestAGatewayThatIsAheadCostsNoMemory(t *testing.T) {
	t.Parallel()
	m := New(Limits{})
	m.Join(0, Worker{Session: 1, ID: "w", Queue: "q"})
	for n := range 1000 {
		m.Refuse(0, 1, Held{Run: runID(n % 200), Activation: uint64(n + 1), Attempt: 1})
		m.Open(0, Item{Activation: &events.OpenActivation{
			RunID: runID(n % 200), Activation: events.ActivationScheduled{Activation: uint64(n + 1), Attempt: 1, OfferTo: 1, OfferUntil: 1},
		}})
	}
	if kept := len(m.claims.recent) + len(m.claims.older); kept != 0 {
		t.Errorf("%d claims are kept of work that was seen open", kept)
	}
}
