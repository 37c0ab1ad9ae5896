package post

import (
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/book"
	"github.com/continuo-dev/continuo/pkg/events"
)

// own is a session of this process.
type own struct {
	id        events.SessionID
	partition events.Partition
	book      *book.Session
	epoch     uint64
	mailbox   []inbox.Delivery
	// received and taken count deliveries of the epoch, those included that waited when it began; told is the count that
	// others know of.
	received, taken, told uint64
	due                   due
	answers               []answer // that the next state gives, one for each asker
	answersAll            bool     // that questions may have been missed
}

// due is what a session is to say.
type due uint8

const (
	dueState due = iota + 1 // its present state
	dueAnew                 // the same, and it begins a new epoch
)

func (c *Core) ownOf(id events.SessionID) *own {
	if i := slices.IndexFunc(c.own, func(o *own) bool { return o.id == id }); i >= 0 {
		return c.own[i]
	}
	return nil
}

// Open begins a session. It fails if the session is open.
func (c *Core) Open(id events.SessionID) error {
	if id == 0 || c.ownOf(id) != nil {
		return fmt.Errorf("gateway session %d is 0 or open already", id)
	}
	c.own = append(c.own, &own{id: id, partition: c.partition(id), book: book.NewSession(id), due: dueAnew, answersAll: true})
	return nil
}

// Close ends a session.
func (c *Core) Close(id events.SessionID) {
	if c.ownOf(id) == nil {
		return
	}
	c.own = slices.DeleteFunc(c.own, func(o *own) bool { return o.id == id })
	c.out(id).put(item{kind: gone, session: id})
}

// Report says what changed in a session of this process. A report of another one fails with ErrGone, unless it says Gone.
func (c *Core) Report(r inbox.Report) error {
	o := c.ownOf(r.Session)
	switch {
	case o == nil && r.Gone:
		return nil
	case o == nil:
		return errGone(r.Session)
	case r.Gone:
		c.Close(r.Session)
		return nil
	}
	for _, other := range c.own {
		if other != o {
			other.book.Moved(r.Joined)
		}
	}
	o.book.Fold(&r)
	if o.due == dueAnew {
		return nil // the state says it all
	}
	out := c.out(o.id)
	for _, piece := range split(r) {
		out.put(reportItem(o.taken, &piece))
	}
	o.told = o.taken
	if out.bytes > maxQueueBytes {
		out.without(func(i item) bool { return i.session == o.id && (i.kind == report || i.kind == ack || i.kind == state) })
		o.due = dueAnew
	}
	return nil
}

// Mail returns how many deliveries wait in a session of this process.
func (c *Core) Mail(id events.SessionID) int {
	if o := c.ownOf(id); o != nil {
		return len(o.mailbox)
	}
	return 0
}

// TakeMail returns waiting deliveries of a session of this process.
func (c *Core) TakeMail(id events.SessionID, limit int) []inbox.Delivery {
	o := c.ownOf(id)
	if o == nil {
		return nil
	}
	taken := take(&o.mailbox, min(limit, len(o.mailbox)))
	o.taken += uint64(len(taken))
	// Whoever delivers counts what was not said to be taken. Reports say so, too.
	room := o.book.Limit() - int(o.received-o.told)
	if o.taken > o.told && (o.taken-o.told >= ackEvery || 2*room < o.book.Limit()) && o.due == 0 {
		c.out(id).put(ackItem(id, o.taken))
		o.told = o.taken
	}
	return taken
}

// sayState puts the state that is due into the outbox.
func (c *Core) sayState(o *own) {
	if o.due == 0 {
		return
	}
	begins := o.due == dueAnew
	if begins {
		c.epochs++
		o.epoch = c.epochs
		o.received, o.taken = uint64(len(o.mailbox)), 0
	}
	o.due, o.told = 0, o.taken
	pieces := split(o.book.State())
	for n := range pieces {
		s := stateItem{
			process: c.config.Process, epoch: o.epoch, received: o.received, taken: o.taken, begins: begins, all: o.answersAll,
			first: n == 0, last: n == len(pieces)-1, answers: o.answers, report: pieces[n],
		}
		c.out(o.id).put(s.item())
	}
	o.answers, o.answersAll = nil, false
	c.stats.States++
}

// readQuestion answers for the sessions of this process.
func (c *Core) readQuestion(p events.Partition, from uint64, i item) error {
	life, anew, number, err := readQuestion(i)
	if err != nil || life != 0 && life != c.config.Life {
		return err
	}
	found := false
	for _, o := range c.own {
		if o.partition != p || i.session != 0 && i.session != o.id {
			continue
		}
		found = true
		if o.due = max(o.due, dueState); anew {
			o.due = dueAnew
		}
		o.answers = slices.DeleteFunc(o.answers, func(a answer) bool { return a.life == from })
		o.answers = append(o.answers, answer{from, number})
	}
	if !found && i.session != 0 {
		c.out(i.session).put(item{kind: gone, session: i.session})
	}
	return nil
}

// deliver takes deliveries that came for a session of this process.
func (c *Core) deliver(o *own, epoch uint64, all []inbox.Delivery) {
	// Nobody delivers more than the limit that he knows of, which may be an older one.
	if epoch == o.epoch && len(o.mailbox)+len(all) > 4*o.book.Limit() {
		o.due = dueAnew
	}
	if epoch != o.epoch || o.due == dueAnew {
		c.stats.Void += uint64(len(all))
		return
	}
	o.mailbox = append(o.mailbox, all...)
	o.received += uint64(len(all))
	for n := range all {
		o.book.Assign(&all[n])
	}
}
