package events_test

import (
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

func TestTraceparents(t *testing.T) {
	t.Parallel()
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
	for of, want := range map[string]struct{ valid, sampled bool }{
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": {true, false}, // W3C: of no trace
		good[:36] + strings.Repeat("0", 16) + "-01":              {true, false}, // and of no span
		"": {true, false}, good + "01": {true, true}, good + "00": {true, false}, good + "0b": {true, true}, good + "0a": {true, false}, good + "1": {},
		good + "0g": {}, strings.ToUpper(good) + "01": {}, "01" + good[2:] + "01": {}, good + "01 ": {}, "x": {}, strings.ReplaceAll(good, "-", "0") + "01": {},
	} {
		if got := events.Traceparent(of); got.Valid() != want.valid || got.Sampled() != want.sampled {
			t.Errorf("%q: valid %t, sampled %t", of, got.Valid(), got.Sampled())
		}
	}
}
