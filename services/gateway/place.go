package gateway

import "context"

// place is that of a client's command in the admission, taken when the command came, before anybody looked at it.
type place struct{ used bool }

type placeKey struct{}

// letIn takes a place, or refuses with the time after which to try again.
func (g *Gateway) letIn() (*place, error) {
	if err := g.admission.enter(g.deps.Clock.Boot()); err != nil {
		return nil, err
	}
	return &place{}, nil
}

// with lets what the command asks with this context have the place.
func (p *place) with(ctx context.Context) context.Context {
	if p == nil {
		return ctx
	}
	return context.WithValue(ctx, placeKey{}, p)
}

// takePlace reports whether a place is there that nobody has used; from then on the caller has to leave it.
func takePlace(ctx context.Context) bool {
	p, _ := ctx.Value(placeKey{}).(*place)
	if p == nil || p.used {
		return false
	}
	p.used = true
	return true
}

// giveBack leaves a place that the command did not use, because it was wrong.
func (p *place) giveBack(g *Gateway) {
	if p != nil && !p.used {
		p.used = true
		now := g.deps.Clock.Boot()
		g.admission.leave(now, now, false)
	}
}

// full refuses a command that would be refused later, unless it has a place.
func (g *Gateway) full(ctx context.Context) error {
	if p, _ := ctx.Value(placeKey{}).(*place); p != nil {
		return nil
	}
	return g.admission.full(g.deps.Clock.Boot())
}
