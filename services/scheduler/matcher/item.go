package matcher

import (
	"container/list"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Kind tells tasks from activations; they have credits apart.
type Kind uint8

// The kinds of work.
const (
	Task Kind = iota
	Activation
)

// String returns the lower-case name.
func (k Kind) String() string {
	if k == Activation {
		return "activation"
	}
	return "task"
}

// ID names one piece of open work: a task of a run, or the run's activation when Step is 0.
type ID struct {
	Run  events.RunID
	Step events.Step
}

// Item is one open attempt. Exactly one of Task and Activation is set; both are shared and never changed.
type Item struct {
	Task       *events.OpenTask
	Activation *events.OpenActivation
	// Partition and From are the position of the record that opened it.
	Partition events.Partition
	From      events.Seq
	// Opened is that record's time. Items that may start are served in the order of Opened or, if later, their not-before
	// time.
	Opened events.Time
	// StartBy is when the attempt's schedule-to-start timer is due; 0 means it has none. The matcher carries it only.
	StartBy events.Time
	// TimesOut says that a schedule-to-close timer is armed for the task. The matcher carries it only.
	TimesOut bool
}

// ID returns the item's name.
func (i *Item) ID() ID {
	if i.Task != nil {
		return ID{Run: i.Task.Task.Run, Step: i.Task.Task.Step}
	}
	return ID{Run: i.Activation.RunID}
}

// Kind tells what the item is.
func (i *Item) Kind() Kind {
	if i.Task != nil {
		return Task
	}
	return Activation
}

// Attempt returns the open attempt.
func (i *Item) Attempt() events.Attempt {
	if i.Task != nil {
		return i.Task.Attempt
	}
	return i.Activation.Activation.Attempt
}

// Start returns when the item may be given to any worker: Opened if it need not wait.
func (i *Item) Start() events.Time {
	if i.Task != nil {
		return max(i.Opened, i.Task.NotBefore)
	}
	return max(i.Opened, i.Activation.Activation.NotBefore)
}

// offer returns which session has the first choice of the item and until when; 0 means none has.
func (i *Item) offer() (events.SessionID, events.Time) {
	if i.Task != nil {
		return i.Task.OfferTo, i.Task.OfferUntil
	}
	return i.Activation.Activation.OfferTo, i.Activation.Activation.OfferUntil
}

func (i *Item) activation() uint64 {
	if i.Task != nil {
		return 0
	}
	return i.Activation.Activation.Activation
}

// Begun tells the later activations of a run from its first one.
func (i *Item) Begun() bool { return i.Activation != nil && i.Activation.Activation.Activation > 1 }

func (i *Item) queue() events.TaskQueue {
	if i.Task != nil {
		return i.Task.Queue
	}
	return i.Activation.Activation.Queue
}

func (i *Item) name() string {
	if i.Task != nil {
		return string(i.Task.Name)
	}
	return string(i.Activation.Activation.Type)
}

// failedBuild is the build that a backed-off activation is kept from; empty when nobody may have it early.
func (i *Item) failedBuild() events.BuildID {
	if i.Task != nil {
		return ""
	}
	return i.Activation.Activation.FailedBuild
}

// entry is an item in the matcher. It is held by a session, or it waits: in a heap of its lane, in the wake heap, or both.
type entry struct {
	Item
	id      ID
	arrival uint64 // breaks ties of ready
	ready   events.Time
	lane    *lane
	fresh   bool // not in the index yet
	// refused says that the session that has the first choice of it does not want it, or had it.
	refused bool

	home *heap // of the lane; nil while it only waits for its time
	wake events.Time
	slot [2]int // in home, in the wake heap; -1 when in none

	session *session // that holds it
	worker  events.WorkerID
	held    *list.Element
	number  uint32
}

// The orders a heap can have; they index entry.slot.
const (
	byReady = iota
	byWake
)

// heap is an indexed binary heap of entries.
type heap struct {
	order   int
	entries []*entry
}

func (h *heap) min() *entry {
	if h == nil || len(h.entries) == 0 {
		return nil
	}
	return h.entries[0]
}

func (h *heap) push(e *entry) {
	e.slot[h.order] = len(h.entries)
	h.entries = append(h.entries, e)
	h.up(e.slot[h.order])
}

func (h *heap) remove(e *entry) {
	i, last := e.slot[h.order], len(h.entries)-1
	e.slot[h.order] = -1
	moved := h.entries[last]
	h.entries[last] = nil
	h.entries = h.entries[:last]
	if i == last {
		return
	}
	h.entries[i] = moved
	moved.slot[h.order] = i
	h.up(i)
	h.down(moved.slot[h.order])
}

func (h *heap) less(a, b *entry) bool {
	x, y := a.ready, b.ready
	if h.order == byWake {
		x, y = a.wake, b.wake
	}
	return x < y || x == y && a.arrival < b.arrival
}

func (h *heap) swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.entries[i].slot[h.order], h.entries[j].slot[h.order] = i, j
}

func (h *heap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.entries[i], h.entries[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.entries); child++ {
			if h.less(h.entries[child], h.entries[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
