package events_test

import (
	"reflect"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// A kind of event that PayloadOf does not know would have its blobs deleted, or missed, without a word.
func TestPayloadOfKnowsEveryEvent(t *testing.T) {
	t.Parallel()
	found := 0
	for _, kind := range events.EventKinds() {
		e := eventgen.Full(kind.Zero)
		var want events.Payload
		for _, field := range reflect.ValueOf(e).Fields() {
			if p, ok := reflect.TypeAssert[events.Payload](field); ok {
				want = p
				found++
			}
		}
		if got := events.PayloadOf(e); !reflect.DeepEqual(got, want) {
			t.Errorf("the payload of %T is %v, want %v", e, got, want)
		}
	}
	if found == 0 {
		t.Error("no event has a payload")
	}
}
