package gateway

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// connTable has the workers' streams.
type connTable struct {
	mu     sync.Mutex
	open   map[sessions.Conn]*conn
	pushed []*conn // since the last flush; of the loop alone
}

// conn is one stream of a worker, between its goroutines and the loop.
type conn struct {
	gateway *Gateway
	id      sessions.Conn
	worker  sessions.Worker
	wake    chan struct{} // has a value when out may have something
	room    chan struct{} // has a value when out may have room again
	heard   atomic.Int64  // clock's boot time in nanoseconds when the worker said something last
	pushed  bool          // it waits for the table's flush; of the loop alone

	mu     sync.Mutex
	out    []sessions.Output // bounded by the credits of the worker and maxUnsent
	asked  []replayAsk
	closed bool
	// given are the activations the worker has, by run: what replay requests may ask about.
	given map[events.RunID]given
}

// given is an activation handed to a worker.
type given struct {
	open      *events.OpenActivation
	partition events.Partition
	from      events.Seq // the position of the record that opened it
}

// givenOf is what a worker is given with the delivery of an activation.
func givenOf(d sessions.Delivery) given {
	return given{open: d.Activation, partition: d.Partition, from: d.From}
}

func (g *Gateway) newConn(worker sessions.Worker) *conn {
	c := &conn{
		gateway: g, id: sessions.Conn(g.nextConn.Add(1)), worker: worker, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), given: make(map[events.RunID]given),
	}
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	g.conns.open[c.id] = c
	return c
}

// push gives an output to a stream's writer, which begins with it at the next flush; one that is closed meanwhile does not
// need it. Called by the loop alone.
func (t *connTable) push(id sessions.Conn, out sessions.Output) {
	t.mu.Lock()
	c := t.open[id]
	t.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	c.out = append(c.out, out)
	c.mu.Unlock()
	if !c.pushed {
		c.pushed = true
		t.pushed = append(t.pushed, c)
	}
}

// flush lets the writers send what was pushed: one message for all that a turn has for a worker. Called by the loop alone.
func (t *connTable) flush() {
	for _, c := range t.pushed {
		c.pushed = false
		c.signal()
	}
	clear(t.pushed)
	t.pushed = t.pushed[:0]
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// post hands inputs of this stream to the loop, unless the stream is closed: nothing may come after its Leave.
func (c *conn) post(in ...sessions.Input) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.gateway.post(in...)
	}
}

// close tells the loop that the stream is over.
func (c *conn) close() {
	c.mu.Lock()
	c.closed = true
	c.gateway.post(sessions.Leave{Conn: c.id})
	c.mu.Unlock()
	c.gateway.conns.mu.Lock()
	delete(c.gateway.conns.open, c.id)
	c.gateway.conns.mu.Unlock()
}

// maxUnsent is how much may wait to be sent to a peer until nothing more is read from it: one that talks and does not
// listen is held up by the transport, instead of filling the server's memory with answers.
const maxUnsent = 10_000

// awaitRoom waits until less than maxUnsent waits to be sent.
func (c *conn) awaitRoom(ctx context.Context) error {
	for {
		c.mu.Lock()
		waiting := len(c.out)
		c.mu.Unlock()
		if waiting < maxUnsent {
			return nil
		}
		select {
		case <-c.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signalRoom wakes whoever waits for room; the channel has a buffer of one.
func signalRoom(room chan struct{}) {
	select {
	case room <- struct{}{}:
	default:
	}
}

// take returns what the writer is to do.
func (c *conn) take() (out []sessions.Output, asked []replayAsk) {
	defer signalRoom(c.room)
	c.mu.Lock()
	defer c.mu.Unlock()
	out, asked = c.out, c.asked
	c.out, c.asked = nil, nil
	return out, asked
}

func (c *conn) give(run events.RunID, g given) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given[run] = g
}

func (c *conn) takeAway(ref sessions.Activation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if has, ok := c.given[ref.RunID]; ok && has.open.Activation.Activation == ref.Activation && has.open.Activation.Attempt == ref.Attempt {
		delete(c.given, ref.RunID)
	}
}

func (c *conn) givenTo(ref sessions.Activation) (given, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	has, ok := c.given[ref.RunID]
	return has, ok && has.open.Activation.Activation == ref.Activation && has.open.Activation.Attempt == ref.Attempt
}

// beginning is what deliveries have of the start of their run.
type beginning struct {
	name  events.WorkflowType
	trace events.Traceparent
}

// typeCache remembers the beginnings of runs that started lately, for the tasks handed out.
type typeCache struct {
	mu    sync.Mutex
	of    map[events.RunID]beginning
	order []events.RunID
}

// cachedTypes bounds the cache.
const cachedTypes = 1 << 15

func (t *typeCache) note(r *events.Record) {
	for _, e := range r.Events {
		if started, ok := e.(events.RunStarted); ok {
			t.put(r.RunID, beginning{started.Type, started.Trace})
		}
	}
}

func (t *typeCache) put(run events.RunID, from beginning) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.of[run]; there {
		return
	}
	t.of[run] = from
	t.order = append(t.order, run)
	if len(t.of) > cachedTypes {
		half := len(t.order) / 2
		for _, old := range t.order[:half] {
			delete(t.of, old)
		}
		t.order = append([]events.RunID(nil), t.order[half:]...)
	}
}

func (t *typeCache) get(run events.RunID) (beginning, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, ok := t.of[run]
	return from, ok
}
