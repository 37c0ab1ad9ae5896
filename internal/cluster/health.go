package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/membership"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/gateway"
)

const (
	// ownerless is for how many announcements a partition may be without an owner before health tells: 10 s by default, when taking
	// over takes 1 to 3 s.
	ownerless = 20
	// modelEvery is how often the read store is asked whether it is there, at most; modelTimeout how long it may take.
	modelEvery   = 2 * time.Second
	modelTimeout = 2 * time.Second
)

// watch is what health remembers from one time it is asked to the next.
type watch struct {
	mu     sync.Mutex
	orphan map[events.Partition]time.Time // since when nobody says that he owns the partition
	asked  time.Time                      // when the read store was asked last
	away   string                         // and why it did not answer
}

// health tells how the services of this process are. One that stands by is ready.
func (p *Process) health() []gateway.Component {
	var parts []gateway.Component
	if p.engine != nil {
		parts = append(parts, p.engineHealth())
	}
	if p.options.Has(Scheduler) {
		c := gateway.Component{Name: string(Scheduler), Ready: true, Detail: "stands by"}
		if s := p.workingScheduler(); s != nil {
			if c.Ready, c.Detail = s.Stats().Ready, "works"; !c.Ready {
				c.Detail = "the log is being read"
			}
		}
		parts = append(parts, c)
	}
	if p.options.Has(Projector) {
		parts = append(parts, compose.ProjectorHealth(p.workingProjector()))
	}
	parts = append(parts, p.logHealth())
	if p.options.Has(Gateway) {
		parts = append(parts, p.modelHealth())
	}
	return parts
}

func (p *Process) engineHealth() gateway.Component {
	running := 0
	c := gateway.Component{Name: string(Engine), Ready: true}
	for _, h := range p.engine.Health() {
		switch h.State {
		case engine.Running:
			running++
		case engine.Standby:
		case engine.Starting, engine.Paused, engine.Stopped:
			c.Ready, c.Detail = false, fmt.Sprintf("partition %d is %s: %s", h.Partition, h.State, h.Reason)
		}
	}
	if c.Ready {
		c.Detail = fmt.Sprintf("%d of %d partitions run here", running, p.journal.Partitions())
	}
	return c
}

// logHealth tells which partitions nobody owns, and which are halted. Another process would say the same, so this one stays ready,
// unless nothing at all goes on.
func (p *Process) logHealth() gateway.Component {
	n, owners, now := p.journal.Partitions(), p.works(Engine), p.clock.Now()
	var stopped, orphans []events.Partition
	reason := ""
	p.watch.mu.Lock()
	for id := range events.Partition(n) {
		if err := p.journal.Halted(id); err != nil {
			stopped, reason = append(stopped, id), err.Error()
		}
		since, known := p.watch.orphan[id]
		switch _, owned := owners[id]; {
		case owned:
			delete(p.watch.orphan, id)
		case !known:
			p.watch.orphan[id] = now
		case now.Sub(since) > ownerless*cmp.Or(p.options.AnnounceEvery, membership.DefaultEvery):
			orphans = append(orphans, id)
		}
	}
	p.watch.mu.Unlock()
	c := gateway.Component{Name: "log", Ready: true, Detail: fmt.Sprintf("%d partitions are followed", n)}
	switch {
	case len(stopped) > 0:
		c.Degraded, c.Detail = true, listed(stopped)+" halted: "+reason
	case len(orphans) > 0:
		c.Degraded, c.Detail = true, listed(orphans)+" no owner: is an engine running?"
	}
	if p.options.Has(Gateway) && len(stopped)+len(orphans) >= n {
		c.Ready = false
	}
	return c
}

// listed names partitions, with the verb they need.
func listed(all []events.Partition) string {
	slices.Sort(all)
	if len(all) == 1 {
		return fmt.Sprintf("partition %d has", all[0])
	}
	const most = 8
	if len(all) > most {
		return fmt.Sprintf("%d partitions have", len(all))
	}
	return fmt.Sprintf("partitions %v have", all)
}

// modelHealth tells whether the read store answers: what is not a query does not wait for it.
func (p *Process) modelHealth() gateway.Component {
	w := &p.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := p.clock.Now(); now.Sub(w.asked) >= modelEvery {
		ctx, cancel := context.WithTimeout(context.Background(), modelTimeout)
		defer cancel()
		w.away = ""
		if _, err := p.options.Model.Watermark(ctx); err != nil {
			w.away = err.Error()
		}
		w.asked = p.clock.Now()
	}
	if w.away != "" {
		return gateway.Component{Name: "read_model", Ready: true, Degraded: true, Detail: "queries are not answered: " + w.away}
	}
	return gateway.Component{Name: "read_model", Ready: true, Detail: "answers"}
}
