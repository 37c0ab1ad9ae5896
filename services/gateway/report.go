package gateway

import (
	"log/slog"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// sendReport tells the schedulers.
func (g *Gateway) sendReport(out sessions.Report) {
	g.metrics.returned.Add(float64(len(out.Returned)))
	if err := g.deps.Inbox.Report(InboxReport(g.session, out)); err != nil {
		g.deps.Log.Error("the schedulers could not be told of workers", slog.String("error", err.Error()))
	}
}

// InboxReport is a report of the core as the inbox of a gateway session carries it. A simulator that drives the core itself
// uses it, too.
func InboxReport(session events.SessionID, out sessions.Report) inbox.Report {
	r := inbox.Report{
		Session: session, Left: out.Left, Running: running(out.Running), Returned: running(out.Returned), Refused: running(out.Refused),
		Over: running(out.Over),
	}
	for _, w := range out.Joined {
		r.Joined = append(r.Joined, inbox.Worker{
			Session: session, ID: w.ID, Identity: w.Identity, Build: w.Build, SDK: w.SDK, Queue: w.Queue,
			Tasks: offers(w.Tasks), Workflows: offers(w.Workflows), TaskSlots: w.TaskSlots, ActivationSlots: w.ActivationSlots, Since: w.Since,
		})
	}
	for _, c := range out.Credits {
		r.Credits = append(r.Credits, inbox.Credit(c))
	}
	for _, l := range out.Live {
		r.Live = append(r.Live, inbox.Live(l))
	}
	return r
}

func running(from []sessions.Held) []inbox.Running {
	var out []inbox.Running
	for _, h := range from {
		out = append(out, inbox.Running(h))
	}
	return out
}

func offers(from []sessions.Offer) []inbox.Offer {
	out := make([]inbox.Offer, len(from))
	for i, o := range from {
		out[i] = inbox.Offer(o)
	}
	return out
}
