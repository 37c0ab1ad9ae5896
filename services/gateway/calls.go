package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// callTable has the calls that wait for the loop. Its bound is that of the core and of the streams' open calls.
type callTable struct {
	mu   sync.Mutex
	open map[sessions.Call]*call
}

// call is one wait for outputs of the core: at most a Waiting and what ends it.
type call struct {
	id  sessions.Call
	out chan sessions.Output
	// then takes the one output of a call that nobody waits for at out. It is called by the loop and must not block.
	then func(sessions.Output)
	// kept says that the command of the call is durable.
	kept atomic.Bool
}

func (g *Gateway) open() *call {
	c := &call{id: g.callID(), out: make(chan sessions.Output, 2)}
	g.calls.enlist(c)
	return c
}

func (g *Gateway) callID() sessions.Call { return sessions.Call(g.nextCall.Add(1)) }

func (t *callTable) enlist(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[c.id] = c
}

// closeCall forgets a call and reports whether it was open.
func (g *Gateway) closeCall(c *call) bool {
	g.calls.mu.Lock()
	defer g.calls.mu.Unlock()
	_, there := g.calls.open[c.id]
	delete(g.calls.open, c.id)
	return there
}

func (t *callTable) deliver(id sessions.Call, out sessions.Output) {
	t.mu.Lock()
	c := t.open[id]
	if c != nil && c.then != nil {
		delete(t.open, id)
	}
	t.mu.Unlock()
	switch {
	case c == nil:
	case c.then != nil:
		c.then(out)
	default:
		c.out <- out // never full: see call
	}
}

// end answers the calls for which nobody waits: the loop has stopped.
func (t *callTable) end(err *events.Error) {
	t.mu.Lock()
	var open []sessions.Call
	for id, c := range t.open {
		if c.then != nil {
			open = append(open, id)
		}
	}
	t.mu.Unlock()
	for _, id := range open {
		t.deliver(id, sessions.Reply{Err: err})
	}
}

// keep notes that the command of a call is durable.
func (t *callTable) keep(id sessions.Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.open[id]; c != nil {
		c.kept.Store(true)
	}
}

// next waits for the call's next output.
func (g *Gateway) next(ctx context.Context, c *call) (sessions.Output, error) {
	select {
	case out := <-c.out:
		return out, nil
	case <-ctx.Done():
		g.post(sessions.Forget{Call: c.id})
		return nil, ctx.Err()
	case <-g.stopped:
		return nil, errStopping
	}
}

var errStopping = &events.Error{Code: events.Unavailable, Message: "the server is stopping", RetryAfterMs: 1000}

// errAccepted says that a command is durable and that its answer has not come in time.
var errAccepted = &events.Error{Code: events.Accepted, Message: "the command is durable; its outcome is not known yet"}

// ask sends a command and waits for the engine's answer, at most for the answer timeout.
func (g *Gateway) ask(ctx context.Context, env events.Envelope) (reply sessions.Reply, err error) {
	if err := env.Validate(); err != nil {
		return sessions.Reply{}, err
	}
	if _, asks := env.Command.(events.GetRun); !asks {
		entered := g.deps.Clock.Boot()
		if !takePlace(ctx) {
			if err := g.admission.enter(entered); err != nil {
				return sessions.Reply{}, err
			}
		}
		defer func() { g.admission.leave(entered, g.deps.Clock.Boot(), reply.Seq != 0) }()
	}
	ctx, cancel := context.WithTimeout(ctx, g.options.AnswerTimeout)
	defer cancel()
	c := g.open()
	defer g.closeCall(c)
	g.post(sessions.Ask{Call: c.id, Envelope: env})
	out, err := g.next(ctx, c)
	switch {
	case g.late(c, err):
		return sessions.Reply{}, errAccepted
	case err != nil:
		return sessions.Reply{}, err
	}
	return replyOf(out)
}

// late reports whether a call that ended so is of a command that is durable and not answered yet.
func (g *Gateway) late(c *call, err error) bool {
	return g.options.CommandsLogged && errors.Is(err, context.DeadlineExceeded) && c.kept.Load()
}

// replyOf reads the engine's answer to a command.
func replyOf(out sessions.Output) (sessions.Reply, error) {
	reply, ok := out.(sessions.Reply)
	switch {
	case !ok:
		return reply, &events.Error{Code: events.Internal, Message: "a command was answered with something else"}
	case reply.Err != nil:
		return reply, reply.Err
	}
	return reply, refusal(reply.Answer)
}

// refusal is the error that an answer means; nil when it is none.
func refusal(a events.Answer) error {
	switch a.Code {
	case events.OK, events.Accepted, events.Stale:
		return nil
	case events.InboxFull, events.RunCompleting, events.Overloaded, events.DiskFull, events.Unavailable:
		return &events.Error{Code: a.Code, Message: a.Message, RunID: a.RunID, RetryAfterMs: 1000}
	default:
		return &events.Error{Code: a.Code, Message: a.Message, RunID: a.RunID}
	}
}
