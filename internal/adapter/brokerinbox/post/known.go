package post

import (
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/book"
	"github.com/continuo-dev/continuo/pkg/events"
)

// known is what this process knows of a session, its own ones included, from the log.
type known struct {
	id        events.SessionID
	partition events.Partition
	life      uint64
	process   uint64 // 0 while it has not told
	standing  standing
	need      uint64 // while asking: the question that has to be answered
	since     uint64 // own announcements when it was first heard of, or when it became silent
	epoch     uint64
	newest    uint64 // epoch that was heard of
	book      *book.Session
	// delivered and taken count deliveries of the epoch.
	delivered, taken uint64
	pieces           *stateItem // of a state that is not complete
}

// standing is how a session stands to this process.
type standing uint8

const (
	inSync standing = iota + 1 // all that it said is known
	asking                     // it was asked for its state
	silent                     // its process says nothing, and followers take it to be gone
)

// hear makes the entry of a session that was not known; nil when there are too many.
func (c *Core) hear(id events.SessionID, life uint64) *known {
	if len(c.known) >= maxSessions {
		return nil
	}
	k := &known{id: id, partition: c.partition(id), life: life, since: c.count, standing: asking, book: book.NewSession(id)}
	c.known = append(c.known, k)
	c.byID[id] = k
	return k
}

func (c *Core) remove(k *known) {
	c.known = slices.DeleteFunc(c.known, func(o *known) bool { return o == k })
	delete(c.byID, k.id)
}

// forget ends what is known of a session.
func (c *Core) forget(k *known) {
	if k == nil {
		return
	}
	c.remove(k)
	c.tell(inbox.Report{Session: k.id, Gone: true})
}

// ask asks a session for its state. Who delivers needs a new epoch, or could not tell what was delivered before it.
func (c *Core) ask(k *known) {
	if k.standing == silent {
		return
	}
	c.asked++
	k.standing, k.pieces, k.need = asking, nil, c.asked
	c.parts[k.partition].out.put(questionItem(k.life, k.id, c.config.Delivers, c.asked))
}

// Deliver hands deliveries to a session. It takes all or none: it fails with ErrFull, and with ErrGone when the session is not
// known, has been asked for its state, or was gone, and a follower of this process has not taken that report yet: who
// delivers does not know what has been given back.
func (c *Core) Deliver(id events.SessionID, all []inbox.Delivery) error {
	if !c.config.Delivers {
		return fmt.Errorf("session %d: this process was not set up to deliver", id)
	}
	k := c.byID[id]
	if k == nil || k.standing != inSync || slices.ContainsFunc(c.followers, func(f *Follower) bool { return f.gone[id] > 0 }) {
		return errGone(id)
	}
	waiting := int(k.delivered - min(k.delivered, k.taken))
	if limit := k.book.Limit(); waiting+len(all) > limit {
		return fmt.Errorf("session %d: %d deliveries wait and the limit is %d: %w", id, waiting, limit, inbox.ErrFull)
	}
	items, err := deliveryItems(id, k.epoch, all)
	if err != nil {
		return fmt.Errorf("session %d: %w", id, err)
	}
	for _, i := range items {
		c.out(id).put(i)
	}
	k.assign(all)
	return nil
}

func (k *known) assign(all []inbox.Delivery) {
	k.delivered += uint64(len(all))
	for n := range all {
		k.book.Assign(&all[n])
	}
}

// readDeliveries takes deliveries into account. What this process delivers, it did when it said so.
func (c *Core) readDeliveries(life uint64, i item) error {
	o, k := c.ownOf(i.session), c.byID[i.session]
	if k != nil && (life == c.config.Life || k.standing != inSync) {
		k = nil
	}
	if o == nil && k == nil {
		return nil
	}
	epoch, all, err := readDeliveries(i.body)
	if err != nil {
		return err
	}
	if o != nil {
		c.deliver(o, epoch, all)
	}
	if k != nil && k.epoch == epoch {
		k.assign(all)
	}
	return nil
}

func (c *Core) readReport(life uint64, i item) error {
	taken, r, err := readReportItem(i)
	if err != nil {
		return err
	}
	k := c.byID[i.session]
	if k == nil {
		if k = c.hear(i.session, life); k != nil {
			c.ask(k)
		}
		return nil
	}
	if k.standing != inSync {
		return nil
	}
	k.taken = max(k.taken, taken)
	c.fold(k, &r)
	c.tell(r)
	return nil
}

// fold keeps the books of a report.
func (c *Core) fold(k *known, r *inbox.Report) {
	if len(r.Joined) > 0 { // a worker is where it joined last
		for _, other := range c.known {
			if other != k {
				other.book.Moved(r.Joined)
			}
		}
		for _, o := range c.own {
			if o.id != k.id {
				o.book.Moved(r.Joined)
			}
		}
	}
	k.book.Fold(r)
}

func (c *Core) readAck(i item) error {
	taken, err := readAck(i)
	if k := c.byID[i.session]; k != nil && k.standing == inSync {
		k.taken = max(k.taken, taken)
	}
	return err
}

// readState takes the present state of a session: the answer to the question, the first one of a new session, or one that begins
// a new epoch. Another one may be old, and says nothing about deliveries that are on their way.
func (c *Core) readState(life uint64, i item) error {
	s, err := readState(i)
	if err != nil {
		return err
	}
	k := c.byID[i.session]
	if k == nil {
		if k = c.hear(i.session, life); k == nil {
			return nil
		}
		if k.need = c.parts[k.partition].need; !s.first || s.answered(c.config.Life) < k.need {
			c.ask(k)
		}
	}
	k.life, k.process = life, s.process
	if !s.first {
		if k.pieces == nil || k.pieces.epoch != s.epoch {
			return nil // its beginning was not taken
		}
		join(&k.pieces.report, &s.report)
	} else {
		least := k.newest // what is sent again may be older
		if c.config.Delivers || k.standing == inSync {
			least++
		}
		k.newest = max(k.newest, s.epoch)
		k.pieces = nil
		if k.standing == silent || s.epoch < least || k.standing == asking && s.answered(c.config.Life) < k.need {
			return nil
		}
		k.pieces = &s
	}
	if !s.last {
		return nil
	}
	whole := k.pieces
	k.pieces = nil
	k.standing, k.epoch = inSync, whole.epoch
	k.delivered, k.taken = whole.received, whole.taken
	k.book = book.NewSession(k.id)
	c.tell(inbox.Report{Session: k.id, Gone: true})
	c.fold(k, &whole.report)
	if !k.book.Empty() {
		c.tell(whole.report)
	}
	return nil
}
