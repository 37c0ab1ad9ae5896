package sim

import (
	"errors"
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	gatewayservice "github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// gateway is one life of a gateway: the real sessions core, with the shell around it in the small. Requests of clients and
// messages of workers come in as inputs; what the core says is done at once.
type gateway struct {
	actor
	server  *server
	session events.SessionID
	core    *sessions.Core
	mailbox inbox.Mailbox
	tail    journal.Reader
	inputs  []sessions.Input
	spare   []sessions.Input // room for the next inputs
	began   [2]int64         // wall and boot, from which its steady time goes on
	conns   map[sessions.Conn]*conn
	calls   map[sessions.Call]caller
	from    []events.Seq // where its tail begins, by partition
}

// caller is told what a gateway answers to its call, or that it dies first.
type caller interface {
	hear(out sessions.Output)
	broken()
}

// conn is the stream of a worker.
type conn struct {
	id      sessions.Conn
	gateway *gateway
	worker  *worker
	open    bool
	out     []sessions.Output // to be put on the stream
	spare   []sessions.Output // room for the next of them
	writing bool
	// What was sent last arrives then: a stream keeps its order.
	downAt, upAt int64
}

func (s *server) newGateway() *gateway {
	w := s.w
	w.nextSession++
	g := &gateway{
		server: s, session: events.SessionID(w.nextSession), conns: map[sessions.Conn]*conn{}, calls: map[sessions.Call]caller{},
		began: [2]int64{int64(w.wallTime()), w.now},
	}
	g.actor = actor{w: w, turn: g.turn}
	config := sessions.Config{Session: g.session, Partitions: w.tuning.partitions}
	if w.tuning.features.has(smallGateway) {
		config.MaxCalls, config.RingRuns, config.RingBytes = w.tuning.workflows+4, 4, 4096
	}
	g.core = sessions.New(config)
	var err error
	if g.mailbox, err = s.inbox.Open(w.ctx, g.session); err != nil {
		panic(err) // session numbers are not used twice
	}
	g.openTail()
	w.tracef("gateway %d opens", g.session)
	g.poke(1)
	return g
}

func (g *gateway) openTail() {
	w := g.w
	var from []journal.Position
	g.from = nil
	for _, p := range w.allPartitions() {
		_, last := g.server.log.Bounds(p)
		from = append(from, journal.Position{Partition: p, Next: last + 1})
		g.from = append(g.from, last+1)
		g.inputs = append(g.inputs, sessions.TailFrom{Partition: p, Next: last + 1})
	}
	var err error
	if g.tail, err = g.server.log.Follow(w.ctx, from); err != nil {
		panic(err) // the end of a log can be read
	}
}

// die ends the gateway; streams and calls break.
func (g *gateway) die() {
	g.dead = true
	for id := sessions.Conn(1); id <= sessions.Conn(g.w.nextConn); id++ {
		if c := g.conns[id]; c != nil {
			c.cut()
		}
	}
	for _, call := range slices.Sorted(maps.Keys(g.calls)) {
		g.calls[call].broken()
	}
	g.calls = nil
}

// crashGateway loses one gateway's memory; another one takes its place.
func (s *server) crashGateway(i int) {
	g := s.gateways[i]
	s.w.tracef("gateway %d dies", g.session)
	g.die()
	g.tail.Close()
	g.mailbox.Close()
	s.scheduler.wake()
	s.gateways[i] = s.newGateway()
}

// steady is the time that the gateway keeps deadlines in.
func (g *gateway) steady() events.Time {
	return events.Time(g.began[0] + g.w.now - g.began[1])
}

func (g *gateway) post(in ...sessions.Input) {
	if g.dead {
		return
	}
	g.inputs = append(g.inputs, in...)
	g.wake()
}

// Most of what one turn takes, as the shell does.
const (
	turnRecords    = 1024
	turnDeliveries = 1024
)

// delivery has the fields of sessions.Delivery.
type delivery inbox.Delivery

func (g *gateway) turn() {
	batch := g.inputs
	g.inputs = g.spare
	for _, d := range g.mailbox.Take(turnDeliveries) {
		batch = append(batch, sessions.Delivery(delivery(d)))
		if g.w.fault(RepeatDelivery, 30) {
			batch = append(batch, sessions.Delivery(delivery(d)))
		}
	}
	records, err := g.tail.TryNext(turnRecords)
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		g.w.tracef("gateway %d fell behind the log", g.session)
		g.tail.Close()
		g.inputs = batch
		g.openTail()
		batch, g.inputs = g.inputs, g.spare
	case err != nil:
		return // the process ends
	}
	for _, r := range records {
		batch = append(batch, sessions.Recorded{Record: r})
	}
	for _, out := range g.core.Turn(g.steady(), batch) {
		g.dispatch(out)
	}
	clear(batch)
	g.spare = batch[:0]
	if g.dead {
		return
	}
	if len(records) == turnRecords {
		g.poke(1)
	}
	if wake := g.core.Wake(); wake != 0 {
		g.poke(max(int64(wake-g.steady()), millisecond))
	}
}

func (g *gateway) dispatch(out sessions.Output) {
	switch o := out.(type) {
	case sessions.Send:
		g.send(o)
	case sessions.Reply:
		g.answer(o.Call, out)
	case sessions.Waiting:
		g.answer(o.Call, out)
	case sessions.RunOver:
		g.answer(o.Call, out)
	case sessions.Inspection:
		g.answer(o.Call, out)
	case sessions.Welcome:
		g.push(o.Conn, out)
	case sessions.Refuse:
		g.push(o.Conn, out)
	case sessions.Hand:
		g.push(o.Conn, out)
	case sessions.StopTask:
		g.push(o.Conn, out)
	case sessions.AckTask:
		g.push(o.Conn, out)
	case sessions.AckActivation:
		g.push(o.Conn, out)
	case sessions.DropRun:
		g.push(o.Conn, out)
	case sessions.Report:
		g.report(o)
	}
}

func (g *gateway) answer(call sessions.Call, out sessions.Output) {
	if c := g.calls[call]; c != nil {
		c.hear(out)
	}
}

// send gives a command to the journal.
func (g *gateway) send(out sessions.Send) {
	partition, n := out.Partition, out.Envelope.N
	if g.w.tracing() {
		g.w.tracef("gateway %d sends %s %d to %s", g.session, events.CommandName(out.Envelope.Command), n, out.Envelope.WorkflowID)
	}
	err := g.server.log.Send(out.Envelope, func(err error) {
		fate := sessions.Kept
		if err != nil {
			fate = sessions.Lost
		}
		g.post(sessions.SendResult{Partition: partition, N: n, Fate: fate})
	})
	if err == nil {
		return
	}
	code := events.Unavailable
	switch {
	case errors.Is(err, journal.ErrFull):
		code = events.Overloaded
	case errors.Is(err, journal.ErrDiskFull):
		code = events.DiskFull
	}
	g.post(sessions.SendResult{Partition: partition, N: n, Fate: sessions.Refused, Err: &events.Error{Code: code, Message: err.Error()}})
}

func (g *gateway) report(out sessions.Report) {
	if err := g.server.inbox.Report(gatewayservice.InboxReport(g.session, out)); err != nil {
		g.w.violate("gateway", "its report was not taken: %v", err)
	}
}

// push puts something on a worker's stream.
func (g *gateway) push(id sessions.Conn, out sessions.Output) {
	c := g.conns[id]
	if c == nil || !c.open {
		return
	}
	c.out = append(c.out, out)
	if !c.writing {
		c.writing = true
		g.w.later(g.w.soon(), kindMessage, (*writing)(c))
	}
}

// connect opens a stream for a worker, with its hello.
func (g *gateway) connect(k *worker, join sessions.Join) *conn {
	g.w.nextConn++
	c := &conn{id: sessions.Conn(g.w.nextConn), gateway: g, worker: k, open: true}
	g.conns[c.id] = c
	join.Conn = c.id
	g.post(join)
	return c
}

// cut breaks a stream: what is on its way is lost, and both ends notice in their own time.
func (c *conn) cut() {
	if !c.open {
		return
	}
	c.open = false
	w, g := c.gateway.w, c.gateway
	delete(g.conns, c.id)
	if !g.dead {
		w.after(w.rng.Int64N(200*millisecond), kindMessage, func() { g.post(sessions.Leave{Conn: c.id}) })
	}
	w.after(w.rng.Int64N(200*millisecond), kindMessage, func() { c.worker.disconnected(c) })
}

// up carries a message of the worker to the gateway.
func (c *conn) up(in sessions.Input) {
	w := c.gateway.w
	c.upAt = max(c.upAt, w.now+w.latency())
	w.later(c.upAt-w.now, kindMessage, &upward{c, in})
}

// upward is a message of a worker on its way to the gateway.
type upward struct {
	conn *conn
	in   sessions.Input
}

func (m *upward) happen() {
	if m.conn.open {
		m.conn.gateway.post(m.in)
	}
}

// down carries a message of the gateway to the worker.
func (c *conn) down(message doer) {
	w := c.gateway.w
	c.downAt = max(c.downAt, w.now+w.latency())
	w.later(c.downAt-w.now, kindMessage, message)
}

// downward is a message of the gateway on its way to a worker; tasks and activations are messages of their own.
type downward struct {
	conn *conn
	out  sessions.Output
}

func (m *downward) happen() {
	if !m.conn.open {
		return
	}
	k := m.conn.worker
	switch o := m.out.(type) {
	case sessions.Welcome:
		k.welcomed()
	case sessions.StopTask:
		k.stop(o.Attempt)
	case sessions.AckTask:
		k.ackTask(o.Attempt)
	case sessions.AckActivation:
		k.ackActivation(o.Activation)
	case sessions.DropRun:
		k.drop(o.RunID)
	default: // a worker is told of nothing else
	}
}

// writing is a stream that is written to.
type writing conn

func (c *writing) happen() { (*conn)(c).write() }

// write puts what waits on the stream.
func (c *conn) write() {
	c.writing = false
	if !c.open {
		return
	}
	out := c.out
	c.out = c.spare[:0]
	for _, o := range out {
		switch o := o.(type) {
		case sessions.Refuse:
			c.gateway.w.tracef("worker %s is refused: %v", c.worker.id, o.Err)
			c.cut()
			return
		case sessions.Hand:
			c.hand(o)
		default:
			c.down(&downward{c, o})
		}
	}
	clear(out)
	c.spare = out
}

func (c *conn) hand(h sessions.Hand) {
	if h.Delivery.Task != nil {
		c.handTask(h.Delivery)
		return
	}
	c.handActivation(h)
}
