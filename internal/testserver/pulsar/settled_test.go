package pulsar

import (
	"strings"
	"testing"
)

func TestSettled(t *testing.T) {
	t.Parallel()
	const found = "09:54:54.470 [pulsar-registration-client-44-1] WARN  TopologyAwareEnsemblePlacementPolicy - Failed to resolve network location for 127.0.0.1, using default rack for it : /default-rack.\n"
	for name, c := range map[string]struct {
		log  string
		want bool
	}{
		"nothing said":                {"", true},
		"found twice by each client":  {strings.Repeat(found, 4), true},
		"lost and found for a second": {strings.Repeat(found, 70), false},
	} {
		if got := settled([]byte(c.log)); got != c.want {
			t.Errorf("%s: settled %v", name, got)
		}
	}
}
