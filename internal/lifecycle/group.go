// Package lifecycle starts the parts of a process in order, and stops them in reverse.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"sync"
)

// Group runs named parts, each in a goroutine of its own.
//
//	       Add, Add, …          Start                          first error, or Stop
//	new ─────────────────▶ new ─────────▶ running ──────────────────────────────────▶ stopping ─────────▶ stopped
//	                        │ Stop                               last part stops first, one after the other   ▲
//	                        └────────────────────────────────────────────────────────────────────────────────┘
//
// Starting or stopping twice, stopping before starting and starting after stopping are all legal; a group that was stopped
// never runs anything again. The methods may be called from any goroutine, except that a part must not wait for the end
// of its own group. The zero value is ready for use.
type Group struct {
	mu      sync.Mutex
	parts   []*part
	started bool
	parent  context.Context
	stop    chan struct{} // closed when stopping begins
	stopped chan struct{} // closed when everything has ended
	err     error
}

type part struct {
	name   string
	run    func(context.Context) error
	cancel context.CancelFunc
	ended  chan struct{}
}

// channels makes the zero value usable. The caller holds the lock.
func (g *Group) channels() {
	if g.stop == nil {
		g.stop, g.stopped = make(chan struct{}), make(chan struct{})
	}
}

// Add adds a part. It runs from Start on, or at once if the group is running; in a group that is stopping or stopped it
// never runs. run returns soon after its context ends. A part that returns nil before is done, and the others go on; one
// that returns an error stops the group. The goroutine carries the profiler label "part" with the name.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels()
	if g.stopping() {
		return
	}
	p := &part{name: name, run: run, ended: make(chan struct{})}
	g.parts = append(g.parts, p)
	if g.started {
		g.launch(p)
	}
}

// Start starts the parts in the order in which they were added and returns. When ctx ends the group stops; the parts'
// contexts carry its values but end one after the other.
func (g *Group) Start(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels()
	if g.started || g.stopping() {
		return
	}
	g.started, g.parent = true, context.WithoutCancel(ctx)
	for _, p := range g.parts {
		g.launch(p)
	}
	stop := g.stop
	unwatch := context.AfterFunc(ctx, func() { g.beginStop(nil) })
	go func() {
		<-stop
		unwatch()
		g.stopParts()
	}()
}

// Stop stops the parts, the last one added first; each has ended before the next is told to. It returns when all have
// ended.
func (g *Group) Stop() {
	g.beginStop(nil)
	<-g.stopped
}

// Wait blocks until the group has stopped, and returns the first error of a part, which names it. An error that wraps
// [context.Canceled], returned while stopping, is none.
func (g *Group) Wait() error {
	g.mu.Lock()
	g.channels()
	g.mu.Unlock()
	<-g.stopped
	return g.err // written before stopped was closed
}

// Run starts the group, waits until ctx ends or a part fails, stops the group and returns what Wait does.
func (g *Group) Run(ctx context.Context) error {
	g.Start(ctx)
	return g.Wait()
}

// Stopping returns a channel that is closed as soon as the group begins to stop.
func (g *Group) Stopping() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels()
	return g.stop
}

func (g *Group) stopping() bool {
	select {
	case <-g.stop:
		return true
	default:
		return false
	}
}

func (g *Group) beginStop(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channels()
	if err != nil && g.err == nil {
		g.err = err
	}
	if g.stopping() {
		return
	}
	close(g.stop)
	if !g.started {
		close(g.stopped)
	}
}

// stopParts ends the parts in reverse order. Parts are no longer added when it runs.
func (g *Group) stopParts() {
	g.mu.Lock()
	parts := slices.Clone(g.parts)
	g.mu.Unlock()
	for _, p := range slices.Backward(parts) {
		p.cancel()
		<-p.ended
	}
	close(g.stopped)
}

// launch starts a part. The caller holds the lock.
func (g *Group) launch(p *part) {
	ctx, cancel := context.WithCancel(g.parent)
	p.cancel = cancel
	go pprof.Do(ctx, pprof.Labels("part", p.name), func(ctx context.Context) {
		defer close(p.ended)
		err := p.run(ctx)
		if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
			g.beginStop(fmt.Errorf("%s: %w", p.name, err))
		}
	})
}
