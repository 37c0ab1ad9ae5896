// Package post is what processes say to each other over the inbox topic of a plain log, and what each of them makes of it:
// deliveries of schedulers to gateways' sessions, and reports of sessions to all. It is pure: messages of the log and calls go
// in, messages to append and what waits for callers come out.
//
// All of a session is in one partition. Every process reads all partitions and counts the messages of every other one, so it
// knows when it has missed something. Nothing has to be durable: who has missed reports of a session asks it for its present
// state; a session that may have missed deliveries says its present state unasked.
//
// A present state that is said because something may have been lost begins a new epoch of its session. Deliveries name the
// epoch that they are made for, and those of an older one are void. So for everybody who reads the state, what was
// delivered before is either in it or will not be taken, and can be given away again.
package post

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/book"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds.
const (
	// Window is how many messages of a process are on their way to a partition at once; the others' items wait and are put
	// together.
	Window = 4
	// ReportLimit is how many reports wait for one follower before they are replaced by the present state.
	ReportLimit = 10_000
	// maxItemBytes is about how large messages and items become: half a MiB, and a header.
	maxItemBytes = 512 << 10
	// maxQueueBytes of items wait for their message before the reports of a session are replaced by its state.
	maxQueueBytes = 8 << 20
	// maxSessions bounds the sessions that are known. Those beyond are not heard.
	maxSessions = 10_000
	// ackEvery is how many deliveries a session takes at most without saying so: less than any mailbox has room for.
	ackEvery = book.Floor / 2
	// forgetAfter is how many announcements after its process became silent a session is forgotten.
	forgetAfter = 1_000
)

// Config of a [Core].
type Config struct {
	// Life is a random number that no other core has, also not an earlier one of this process.
	Life uint64
	// Process is the number under which the process announces itself.
	Process uint64
	// Partitions of the topic.
	Partitions int
	// Delivers says that this process may call Deliver: those who did so before it are to stop.
	Delivers bool
	// Silence is how many own announcements must have come back since a session was first heard of before its process, of
	// which none came, is taken to be gone.
	Silence uint64
}

// Core is the state of one process. It is used by one goroutine at a time.
type Core struct {
	config    Config
	parts     []part
	own       []*own   // in the order they were opened
	known     []*known // in the order they were heard of
	byID      map[events.SessionID]*known
	followers []*Follower
	epochs    uint64
	asked     uint64 // questions
	count     uint64 // own announcements that came back
	stats     Stats
}

type part struct {
	out  outbox
	in   inStreams
	need uint64 // the question to all that whoever was not known has to answer
}

// Stats count since the beginning.
type Stats struct {
	// Read are messages of the log, of which Repeated and Early had no effect; what is early comes again. Damaged could not be
	// read.
	Read, Repeated, Early, Damaged uint64
	// Missed is how often messages of another process were missed, or the place in a partition lost.
	Missed uint64
	// Void are deliveries for an epoch that is over.
	Void uint64
	// Again is how often what had not arrived was sent again.
	Again uint64
	// States are present states that were said, Silent the sessions whose process fell silent.
	States, Silent uint64
}

// New returns a core that has not begun to read.
func New(c Config) *Core {
	core := &Core{config: c, parts: make([]part, c.Partitions), byID: map[events.SessionID]*known{}}
	for p := range core.parts {
		core.parts[p].out.low = 1
	}
	return core
}

// PartitionOf returns the partition of a session: its number, mixed (the finalizer of MurmurHash3), modulo n.
func PartitionOf(id events.SessionID, n int) events.Partition {
	x := uint64(id)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return events.Partition(x % uint64(n))
}

func (c *Core) out(id events.SessionID) *outbox { return &c.parts[c.partition(id)].out }

func (c *Core) partition(id events.SessionID) events.Partition {
	return PartitionOf(id, c.config.Partitions)
}

// Stats returns the counters.
func (c *Core) Stats() Stats { return c.stats }

// Begin asks all sessions for their state. All partitions are read by now.
func (c *Core) Begin() {
	for p := range c.parts {
		c.askAll(events.Partition(p))
	}
}

func (c *Core) askAll(p events.Partition) {
	c.asked++
	c.parts[p].need = c.asked
	c.parts[p].out.put(questionItem(0, 0, c.config.Delivers, c.asked))
}

// Pending reports whether Next has a message for a partition.
func (c *Core) Pending(p events.Partition) bool {
	out := &c.parts[p].out
	return out.pending() || len(out.sent) < Window && slices.ContainsFunc(c.own, func(o *own) bool { return o.partition == p && o.due != 0 })
}

// Next returns the next message to append to a partition, and the try it belongs to; nil when there is none now.
func (c *Core) Next(p events.Partition) (body []byte, try uint64) {
	if !c.Pending(p) {
		return nil, 0
	}
	out := &c.parts[p].out
	if out.resend == len(out.sent) {
		for _, o := range c.own {
			if o.partition == p {
				c.sayState(o)
			}
		}
	}
	return out.next(c.config.Life), out.try
}

// Waits returns the number of the oldest message that has not come back from a partition, and whether there is one.
func (c *Core) Waits(p events.Partition) (n uint64, waits bool) {
	out := &c.parts[p].out
	return out.low, len(out.sent) > 0
}

// Idle reports whether all that was said has come back.
func (c *Core) Idle() bool {
	for p := range c.parts {
		if len(c.parts[p].out.sent) > 0 || c.Pending(events.Partition(p)) {
			return false
		}
	}
	return true
}

// Failed says that a message of a try may not have arrived: all that did not come back is sent again.
func (c *Core) Failed(p events.Partition, try uint64) {
	if c.parts[p].out.again(try) {
		c.stats.Again++
	}
}

// Try returns the present try of a partition.
func (c *Core) Try(p events.Partition) uint64 { return c.parts[p].out.try }

// Read takes the next message of a partition.
func (c *Core) Read(p events.Partition, body []byte) {
	c.stats.Read++
	m, err := decodeMessage(body)
	if err != nil {
		c.stats.Damaged++
		return
	}
	part := &c.parts[p]
	if m.life == c.config.Life {
		if !part.out.cameBack(m.n) {
			c.stats.Repeated++
			return
		}
	} else {
		verdict, lost := part.in.judge(&m)
		if lost {
			c.missed(p, m.life)
		}
		switch verdict {
		case repeated:
			c.stats.Repeated++
			return
		case early:
			c.stats.Early++
			return
		case accepted:
		}
	}
	for _, i := range m.items {
		if err := c.readItem(p, m.life, i); err != nil {
			c.stats.Damaged++
			c.missed(p, m.life)
			return
		}
	}
}

func (c *Core) readItem(p events.Partition, life uint64, i item) error {
	switch i.kind {
	case deliveries:
		return c.readDeliveries(life, i)
	case report:
		return c.readReport(life, i)
	case ack:
		return c.readAck(i)
	case state:
		return c.readState(life, i)
	case gone:
		c.forget(c.byID[i.session])
		return nil
	case question:
		return c.readQuestion(p, life, i)
	default:
		return nil // of a newer version
	}
}

// missed says that messages of another process are lost: what it told of its sessions, or delivered to those of this process.
func (c *Core) missed(p events.Partition, life uint64) {
	c.stats.Missed++
	for _, k := range c.known {
		if k.partition == p && k.life == life {
			c.ask(k)
		}
	}
	c.asked++ // and those that are not known
	c.parts[p].out.put(questionItem(life, 0, c.config.Delivers, c.asked))
	c.anew(p)
}

// anew lets the sessions of a partition begin a new epoch.
func (c *Core) anew(p events.Partition) {
	for _, o := range c.own {
		if o.partition == p {
			o.due, o.answersAll = dueAnew, true
		}
	}
}

// Lost says that a partition is read on at its end, and that messages before it may have been missed.
func (c *Core) Lost(p events.Partition) {
	c.stats.Missed++
	part := &c.parts[p]
	part.in = inStreams{}
	if part.out.again(part.out.try) {
		c.stats.Again++
	}
	for _, k := range c.known {
		if k.partition == p {
			c.ask(k)
		}
	}
	c.anew(p)
	c.askAll(p)
}

// Present says which processes are there, as far as is known after a number of own announcements that came back.
func (c *Core) Present(count uint64, here func(process uint64) bool) {
	c.count = count
	for _, k := range slices.Clone(c.known) {
		if k.process != 0 && here(k.process) {
			if k.standing == silent {
				k.since = count
				k.standing = asking
				c.ask(k)
			}
			continue
		}
		since := count - min(count, k.since)
		switch {
		case k.standing == silent && since >= forgetAfter:
			c.remove(k)
		case k.standing != silent && since >= c.config.Silence:
			c.stats.Silent++
			c.tell(inbox.Report{Session: k.id, Gone: true})
			k.standing, k.since, k.pieces = silent, count, nil
			if k.process == 0 {
				c.remove(k)
			}
		}
	}
}

// Complete reports whether the present state of all sessions is known, if these are the processes that have some: each has told
// of one, and none that was asked still has to answer.
func (c *Core) Complete(processes []uint64) bool {
	for _, process := range processes {
		if !slices.ContainsFunc(c.known, func(k *known) bool { return k.process == process }) {
			return false
		}
	}
	return !slices.ContainsFunc(c.known, func(k *known) bool { return k.standing == asking })
}

// Follower is one following of the reports.
type Follower struct {
	core  *Core
	queue []inbox.Report
	told  map[events.SessionID]struct{} // of what, and not that it is gone
	gone  map[events.SessionID]int      // of how many ends in queue
}

// Follow begins a following. It gets the present state first: in a process that delivers as the sessions say it anew, so that
// nothing that was delivered before is on its way.
func (c *Core) Follow() *Follower {
	f := &Follower{core: c, told: map[events.SessionID]struct{}{}, gone: map[events.SessionID]int{}}
	c.followers = append(c.followers, f)
	if !c.config.Delivers {
		f.present()
		return f
	}
	for _, k := range c.known {
		if k.standing == inSync {
			c.ask(k)
		}
	}
	return f
}

// End ends the following.
func (f *Follower) End() {
	f.queue = nil
	f.core.followers = slices.DeleteFunc(f.core.followers, func(o *Follower) bool { return o == f })
}

// Waiting returns how many reports wait.
func (f *Follower) Waiting() int { return len(f.queue) }

// Take returns waiting reports. What says that a session is gone and back comes together, unless the limit is 1.
func (f *Follower) Take(limit int) []inbox.Report {
	n := min(limit, len(f.queue))
	if n > 1 && n < len(f.queue) && f.queue[n-1].Gone && f.queue[n].Session == f.queue[n-1].Session {
		n--
	}
	taken := take(&f.queue, n)
	for i := range taken {
		if id := taken[i].Session; taken[i].Gone {
			if f.gone[id]--; f.gone[id] == 0 {
				delete(f.gone, id)
			}
		}
	}
	return taken
}

// add appends a report.
func (f *Follower) add(r inbox.Report) {
	if f.queue = append(f.queue, r); r.Gone {
		f.gone[r.Session]++
		delete(f.told, r.Session)
	} else {
		f.told[r.Session] = struct{}{}
	}
}

func take[T any](queue *[]T, n int) []T {
	if n <= 0 {
		return nil
	}
	taken := slices.Clone((*queue)[:n])
	*queue = slices.Delete(*queue, 0, n)
	return taken
}

// present appends the present state.
func (f *Follower) present() {
	for _, k := range f.core.known {
		if k.standing == inSync && !k.book.Empty() {
			f.add(k.book.State())
		}
	}
}

// tell hands a report to the followers. One that takes nothing gets, instead of ever more changes, the end of every session it
// was told of and then the present state.
func (c *Core) tell(r inbox.Report) {
	for _, f := range c.followers {
		_, told := f.told[r.Session]
		switch {
		case r.Gone && !told:
		case len(f.queue) < ReportLimit:
			f.add(r)
		default:
			f.told[r.Session] = struct{}{}
			f.restart()
		}
	}
}

// restart replaces what waits.
func (f *Follower) restart() {
	for _, r := range f.queue {
		f.told[r.Session] = struct{}{}
	}
	ids := make([]events.SessionID, 0, len(f.told))
	for id := range f.told { // sorted: below
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare[events.SessionID])
	f.queue = nil
	clear(f.gone)
	for _, id := range ids {
		f.add(inbox.Report{Session: id, Gone: true})
	}
	f.present()
}

// errGone names a session that is not there.
func errGone(id events.SessionID) error { return fmt.Errorf("session %d: %w", id, inbox.ErrGone) }
