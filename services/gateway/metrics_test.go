package gateway

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]+)"`)
	unit      = regexp.MustCompile(`_(total|seconds|bytes|workers|tasks|activations|calls|results|commands)$`)
)

// The reference has one line per metric, with the help that the metric itself gives.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	reference, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc, 100)
	m.registry.Describe(descriptions)
	close(descriptions)
	var names []string
	for d := range descriptions {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("no name in %s", d)
		}
		name, help := found[1], found[2]
		names = append(names, name)
		if !strings.HasPrefix(name, "continuo_gateway_") || !unit.MatchString(name) {
			t.Errorf("%s: a name begins with continuo_gateway_ and ends in its unit", name)
		}
		if !strings.Contains(string(reference), "| `"+name+"` |") || !strings.Contains(string(reference), help) {
			t.Errorf("docs/reference/metrics.md lacks `%s` | %s", name, help)
		}
	}
	for _, found := range regexp.MustCompile("`(continuo_gateway_[a-z_]+)`").FindAllStringSubmatch(string(reference), -1) {
		if !slices.Contains(names, found[1]) {
			t.Errorf("docs/reference/metrics.md has %s, which does not exist", found[1])
		}
	}
}

func TestTwoGatewaysCannotShareMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := newMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := newMetrics(registry); err == nil {
		t.Error("two gateways share a registry")
	}
}

func TestEveryRouteIsKnown(t *testing.T) {
	t.Parallel()
	if len(routes) != 17 {
		t.Errorf("%d routes, want one for each of the 17 methods", len(routes))
	}
	if r, ok := routeOf("POST", "/v1/workflows/{workflow_id=*}/signals/{name=*}"); !ok || r.name != "SignalWorkflow" || !r.hasBody {
		t.Errorf("signal: %+v %v", r, ok)
	}
}
