package sessions

import (
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// lane is what this gateway has sent to one partition. The engine ignores the numbers of a session that it has handled, so
// what was lost can be sent again; that comes before anything newer, which keeps the order of a sender.
type lane struct {
	last     uint64 // number given out last
	open     map[uint64]*pending
	inFlight int  // sent, fate unknown
	broken   bool // something was lost: nothing is sent until all fates are known
}

// pending is a command without an answer.
type pending struct {
	env  events.Envelope
	call Call // 0 when nobody waits
	// worker is to be told the acknowledgement of task or activation; empty when nobody is.
	worker     events.WorkerID
	task       Attempt
	activation Activation
	state      sending
	// gap says that the log was not read for a time in which the answer may have been.
	gap bool
	// again says that it was lost before: it may have happened.
	again bool
}

type sending uint8

const (
	queued sending = iota // held back while the lane is broken
	sent
	kept
	lost
)

func (c *Core) ask(in Ask) {
	if len(c.asks)+len(c.waiters) >= c.config.MaxCalls {
		c.emit(Reply{Call: in.Call, Err: &events.Error{
			Code: events.Overloaded, Message: "too many calls wait in this gateway; nothing was kept", RetryAfterMs: 1000,
		}})
		return
	}
	c.send(pending{env: in.Envelope, call: in.Call})
}

// send stamps a command and gives it to the journal.
func (c *Core) send(p pending) {
	part := events.PartitionOf(p.env.Namespace, p.env.WorkflowID, len(c.lanes))
	l := &c.lanes[part]
	open := c.keep(p)
	c.stamp(l, open)
	if l.broken {
		return
	}
	c.transmit(part, l, open)
}

// maxSpare bounds the room for commands that is kept when they are answered.
const maxSpare = 1024

// keep puts a command where it stays until it is resolved.
func (c *Core) keep(p pending) *pending {
	var kept *pending
	if last := len(c.spare) - 1; last >= 0 {
		kept, c.spare = c.spare[last], c.spare[:last]
	} else {
		kept = new(pending)
	}
	*kept = p
	return kept
}

func (c *Core) stamp(l *lane, p *pending) {
	l.last++
	p.env.Session, p.env.N, p.state = c.config.Session, l.last, queued
	l.open[l.last] = p
	if p.call != 0 {
		c.asks[p.call] = p
	}
}

func (c *Core) transmit(part events.Partition, l *lane, p *pending) {
	p.state = sent
	l.inFlight++
	c.emit(Send{Call: p.call, Partition: part, Envelope: p.env})
}

var errUnknown = &events.Error{
	Code:    events.Unavailable,
	Message: "the outcome of the command is not known; repeat it with the same run id or request id", RetryAfterMs: 1000,
}

func (c *Core) sendResult(in SendResult) {
	l := &c.lanes[in.Partition]
	l.inFlight--
	p := l.open[in.N]
	if in.Fate == Lost && mutant.On(mutant.LostTreatedAsKept) {
		in.Fate = Kept
	}
	switch in.Fate {
	case Kept:
		switch {
		case p == nil:
		case p.gap:
			delete(l.open, in.N)
			c.resolve(p, Reply{Err: errGap})
		default:
			p.state = kept
		}
	case Lost:
		l.broken = true
		if p != nil {
			p.state, p.again = lost, true
		}
	case Refused:
		if p != nil {
			delete(l.open, in.N)
			err := in.Err
			if p.again && !mutant.On(mutant.UnknownTreatedAsRefused) {
				err = errUnknown
			}
			c.resolve(p, Reply{Err: err})
		}
	}
	c.mend(in.Partition, l)
}

// mend sends again what was lost, once the fate of everything else is known, in the order it was sent first. It keeps its
// number: a lost command may have happened, its answer still to be read, and the engine knows it by its number then.
func (c *Core) mend(part events.Partition, l *lane) {
	if !l.broken || l.inFlight > 0 {
		return
	}
	numbers := slices.Sorted(maps.Keys(l.open))
	for _, n := range numbers {
		if l.open[n].state == kept {
			return // what was lost before it comes first, or not at all
		}
	}
	l.broken = false
	for _, n := range numbers {
		c.transmit(part, l, l.open[n])
	}
}

// answer matches an answer in the log with the command it is for.
func (c *Core) answer(r *events.Record, a events.Answer) {
	if a.Session != c.config.Session || a.N == 0 || int(r.Partition) >= len(c.lanes) {
		return
	}
	l := &c.lanes[r.Partition]
	p := l.open[a.N]
	if p == nil {
		return
	}
	if p.state == sent {
		// The fate comes later; by then the command is no longer open.
		p.state = kept
	}
	delete(l.open, a.N)
	c.resolve(p, Reply{Answer: a, Partition: r.Partition, Seq: r.Seq})
	c.mend(r.Partition, l)
}

// resolve tells of a command that is not open any more; nobody has it after that.
func (c *Core) resolve(p *pending, reply Reply) {
	if p.call != 0 {
		delete(c.asks, p.call)
		reply.Call = p.call
		c.emit(reply)
	}
	switch {
	case p.worker == "":
	case p.task != Attempt{}:
		c.taskAnswered(p)
	default:
		c.activationAnswered(p)
	}
	if *p = (pending{}); len(c.spare) < maxSpare {
		c.spare = append(c.spare, p)
	}
}

func (c *Core) forget(call Call) {
	if w := c.waiters[call]; w != nil {
		c.dropWaiter(call, w)
		return
	}
	if p := c.asks[call]; p != nil {
		p.call = 0
		delete(c.asks, call)
	}
}
