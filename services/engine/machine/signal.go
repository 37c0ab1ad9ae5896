package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of a run's inbox.
const (
	MaxUnreadSignals = 10_000  // signals no code has read yet
	MaxUnreadBytes   = 1 << 20 // their inline bytes; a spilled payload counts as 64
	MaxSignalNames   = 1_000   // different names a run has ever received or waited for
)

// maxRefusals is how often in a row a run may be kept from ending by new signals before it takes no more.
const maxRefusals = 3

// blobReferenceBytes is what a spilled payload weighs in the inbox.
const blobReferenceBytes = 64

// inbox counts signals by name. The signals themselves are in the history.
type inbox struct {
	boxes  []box // by name
	unread int
	bytes  int
}

// box counts the signals of one name.
type box struct {
	name     events.SignalName
	received uint64
	read     uint64
	last     events.EventNumber // of the newest signal
	// receives says that code has asked for signals of the name (it read one, waited for one, or looked and found none), so
	// the run may not end without showing it new ones.
	receives bool
	unread   []unread // received-read of them, oldest first
}

type unread struct {
	number events.EventNumber
	bytes  int
}

func (b *inbox) search(name events.SignalName) (int, bool) {
	return slices.BinarySearchFunc(b.boxes, name, func(x box, n events.SignalName) int { return strings.Compare(string(x.name), string(n)) })
}

// find returns the box of a name, nil if there is none.
func (b *inbox) find(name events.SignalName) *box {
	if i, ok := b.search(name); ok {
		return &b.boxes[i]
	}
	return nil
}

// box returns the box of a name, making it if there is none. It is valid until the next is made.
func (b *inbox) box(name events.SignalName) *box {
	i, ok := b.search(name)
	if !ok {
		b.boxes = slices.Insert(b.boxes, i, box{name: name})
	}
	return &b.boxes[i]
}

func (b *inbox) received(name events.SignalName) uint64 {
	if x := b.find(name); x != nil {
		return x.received
	}
	return 0
}

func inlineBytes(p events.Payload) int {
	if p.Blob != "" {
		return blobReferenceBytes
	}
	return len(p.Data)
}

func (r *Run) decideSignal(env events.Envelope, c events.SignalWorkflow) ([]events.Event, events.Answer) {
	if err := c.Name.Validate(); err != nil {
		return nil, r.answer(env, events.BadIDCode, err.Error())
	}
	if r.code.refusals >= maxRefusals {
		return nil, r.answer(env, events.RunCompleting, "the run is ending and takes no more signals")
	}
	if problem := r.inbox.refuses(c.Name, inlineBytes(c.Input)); problem != "" {
		return nil, r.answer(env, events.InboxFull, problem)
	}
	return []events.Event{events.SignalReceived{
		Name: c.Name, Index: r.inbox.received(c.Name) + 1, Input: c.Input, RequestID: env.RequestID,
	}}, r.answer(env, events.OK, "")
}

// refuses says why a signal would break a bound of the inbox; "" means it fits.
func (b *inbox) refuses(name events.SignalName, bytes int) string {
	switch {
	case b.unread >= MaxUnreadSignals:
		return fmt.Sprintf("%d signals are unread, the limit; send again when the workflow has read some", b.unread)
	case b.bytes+bytes > MaxUnreadBytes:
		return fmt.Sprintf("unread signals have %d bytes and this one %d; the limit is %d: send again when the workflow has read some",
			b.bytes, bytes, MaxUnreadBytes)
	case b.find(name) == nil && len(b.boxes) >= MaxSignalNames:
		return fmt.Sprintf("the run knows %d signal names, the limit; put what differs into the input instead", len(b.boxes))
	}
	return ""
}

func (r *Run) applySignal(e events.SignalReceived, n events.EventNumber) error {
	bytes := inlineBytes(e.Input)
	if problem := r.inbox.refuses(e.Name, bytes); problem != "" {
		return errors.New(problem)
	}
	if want := r.inbox.received(e.Name) + 1; e.Index != want {
		return fmt.Errorf("signal %q has index %d, %d is next", e.Name, e.Index, want)
	}
	x := r.inbox.box(e.Name)
	x.received, x.last = e.Index, n
	x.unread = append(x.unread, unread{n, bytes})
	r.inbox.unread++
	r.inbox.bytes += bytes
	r.wait.signalCame(e.Name, e.Index)
	return nil
}

// checkReads says why code cannot have read this; nil means it can.
func (b *inbox) checkReads(reads []events.SignalRead, upto events.EventNumber) error {
	fresh := 0
	for i, read := range reads {
		x := b.find(read.Name)
		var received, before uint64
		if x != nil {
			received, before = x.received, x.read
		} else if err := read.Name.Validate(); err != nil {
			return err
		} else {
			fresh++
		}
		switch {
		case read.Count < before:
			return fmt.Errorf("it has read %d signals %q, and %d before", read.Count, read.Name, before)
		case read.Count > received:
			return fmt.Errorf("it has read %d signals %q of %d", read.Count, read.Name, received)
		case read.Count > before && x.unread[read.Count-before-1].number > upto:
			return fmt.Errorf("it has read signal %d of %q, which it was not given", read.Count, read.Name)
		case slices.ContainsFunc(reads[:i], func(o events.SignalRead) bool { return o.Name == read.Name }):
			return fmt.Errorf("it tells twice what it has read of %q", read.Name)
		}
	}
	return b.checkNames(fresh)
}

// checkWaits says why the names of a wait set break a bound.
func (b *inbox) checkWaits(set events.WaitSet) error {
	fresh := 0
	for _, g := range set.Any {
		for _, s := range g.Signals {
			if b.find(s.Name) == nil {
				if err := s.Name.Validate(); err != nil {
					return err
				}
				fresh++
			}
		}
	}
	return b.checkNames(fresh)
}

// checkNames says that so many new names break the bound. A name that is new in reads and in waits counts twice: close to
// the bound that is refused a little early.
func (b *inbox) checkNames(fresh int) error {
	if fresh > 0 && len(b.boxes)+fresh > MaxSignalNames {
		return overLimit("the run would know more than %d signal names, the limit", MaxSignalNames)
	}
	return nil
}

// readNow returns how many unread signals the reads take off the inbox.
func (b *inbox) readNow(reads []events.SignalRead) int {
	taken := 0
	for _, read := range reads {
		if x := b.find(read.Name); x != nil {
			taken += int(read.Count - x.read)
		}
	}
	return taken
}

// unseen reports whether a signal newer than upto has come under a name that the code receives on: reads have those that
// it asked for in this progress, with count 0 when it got none.
func (b *inbox) unseen(reads []events.SignalRead, upto events.EventNumber) bool {
	for i := range b.boxes {
		if x := &b.boxes[i]; x.receives && x.last > upto {
			return true
		}
	}
	for _, read := range reads {
		if x := b.find(read.Name); x != nil && x.last > upto {
			return true
		}
	}
	return false
}

// take marks signals as read and names as received on.
func (b *inbox) take(reads []events.SignalRead, set events.WaitSet) {
	for _, read := range reads {
		x := b.box(read.Name)
		x.receives = true
		if read.Count <= x.read {
			continue
		}
		n := int(read.Count - x.read)
		for _, u := range x.unread[:n] {
			b.unread--
			b.bytes -= u.bytes
		}
		x.read = read.Count
		if n < len(x.unread) {
			x.unread = x.unread[n:]
		} else {
			x.unread = emptied(x.unread)
		}
	}
	for _, g := range set.Any {
		for _, s := range g.Signals {
			b.box(s.Name).receives = true
		}
	}
}

// continued returns what RunContinued tells of the inbox after the given reads.
func (b *inbox) continued(reads []events.SignalRead) (counts []events.SignalRead, oldest events.EventNumber) {
	for i := range b.boxes {
		x := &b.boxes[i]
		count := x.read
		if i := slices.IndexFunc(reads, func(r events.SignalRead) bool { return r.Name == x.name }); i >= 0 {
			count = reads[i].Count
		}
		if count > 0 {
			counts = append(counts, events.SignalRead{Name: x.name, Count: count})
		}
		if left := x.unread[count-x.read:]; len(left) > 0 && (oldest == 0 || left[0].number < oldest) {
			oldest = left[0].number
		}
	}
	return counts, oldest
}
