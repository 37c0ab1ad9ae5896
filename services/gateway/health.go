package gateway

import (
	"net/http"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Components tells how the gateway and everything beside it are, this gateway first.
func (g *Gateway) Components() []Component {
	own := Component{Name: "gateway", Ready: true, Detail: "serving"}
	switch {
	case g.draining.Load():
		own.Ready, own.Detail = false, "draining: it takes nothing new"
	case !g.tail.reads.Load():
		own.Ready, own.Detail = false, "the log is not followed"
	}
	all := []Component{own}
	if g.deps.Health != nil {
		all = append(all, g.deps.Health()...)
	}
	return all
}

// healthDocument is the body of /healthz and /readyz.
type healthDocument struct {
	Status     string            `json:"status"`
	Components []healthComponent `json:"components,omitempty"`
	Code       events.Code       `json:"code,omitempty"`
}

type healthComponent struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Degraded bool   `json:"degraded,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Alive answers as long as the process can answer at all.
func Alive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, healthDocument{Status: "alive"})
}

// Ready answers 200 when all components are ready, degraded ones included, else 503 with what is missing. It serves processes without a gateway, too.
func Ready(components func() []Component) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		document := healthDocument{Status: "ready"}
		code := http.StatusOK
		for _, c := range components() {
			document.Components = append(document.Components, healthComponent(c))
			switch {
			case c.Ready && c.Degraded && code == http.StatusOK:
				document.Status = "degraded"
			case !c.Ready:
				document.Status, document.Code, code = "not ready", events.Unavailable, http.StatusServiceUnavailable
			}
		}
		writeJSON(w, code, document)
	}
}
