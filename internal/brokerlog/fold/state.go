package fold

import (
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Verdict is what becomes of a message in an events log. Every reader that read all messages comes to the same ones.
type Verdict uint8

// The verdicts. Only accepted records exist; what is skipped has no effect on anybody.
const (
	// Accepted: the records of the frame are the next ones of the journal.
	Accepted Verdict = iota + 1
	// Opened: a new owner, in a new epoch.
	Opened
	// Duplicate: the current owner's frame, read before.
	Duplicate
	// Stale: of an owner that has been replaced, or that lost the race for an epoch.
	Stale
	// Late: of the current owner, behind an append of it that failed. What it sent from there on is void until the next opening.
	Late
	// Foreign: an opening by another cluster, or with another number of partitions.
	Foreign
	// Halted: the log contradicts what it said before; see [State.Halt]. Nothing is read any more.
	Halted

	verdicts = int(Halted) + 1
)

// String returns the verdict as one lower-case word.
func (v Verdict) String() string {
	names := [verdicts]string{"none", "accepted", "opened", "duplicate", "stale", "late", "foreign", "halted"}
	return names[v]
}

// MaxPast is of how many former epochs a reader remembers the owner.
const MaxPast = 32

// State is what a reader knows after the messages it has read of one partition's events log. It is the whole rule of what is
// in the journal. The zero value is of no use; see [NewState] and [DecodeCheckpoint].
type State struct {
	partition events.Partition
	log       Identity // zero before the first opening
	epoch     uint64
	owner     events.OwnerID
	past      []events.OwnerID // of the epochs before the current one, at most MaxPast, the newest last
	base      events.Seq       // the last record before the current epoch
	seq       events.Seq       // the last accepted record
	broken    bool             // an append of the current owner failed
	at        Position         // of the last message read
	in        Position         // of the last command handled
	taken     counters         // commands handled, by source
	sent      counters         // commands given out, by destination
	counts    [verdicts]uint64
	halt      *Halt
}

// NewState returns the state before the first message of a partition.
func NewState(p events.Partition) *State { return &State{partition: p} }

// Clone returns a copy that shares nothing.
func (s *State) Clone() *State {
	c := *s
	c.taken, c.sent, c.past = slices.Clone(s.taken), slices.Clone(s.sent), slices.Clone(s.past)
	return &c
}

// Partition returns the partition whose log this is.
func (s *State) Partition() events.Partition { return s.partition }

// Log returns what the log was opened as; zero before its first opening.
func (s *State) Log() Identity { return s.log }

// Foreign returns [ErrForeign] with the way out if the log was made as another one than a program is set to; nil for a log that
// nobody has opened yet.
func (s *State) Foreign(log Identity) error {
	if s.epoch == 0 || log == s.log {
		return nil
	}
	return fmt.Errorf("%w: it was made for cluster %q with %d partitions, and this program is set to cluster %q with %d: set these as they were, or use another namespace",
		ErrForeign, s.log.Cluster, s.log.Partitions, log.Cluster, log.Partitions)
}

// Epoch returns the current epoch, 0 before the first, and its owner.
func (s *State) Epoch() (uint64, events.OwnerID) { return s.epoch, s.owner }

// Seq returns the last accepted record.
func (s *State) Seq() events.Seq { return s.seq }

// At returns the position of the last message read: reading goes on behind it.
func (s *State) At() Position { return s.at }

// In returns the position of the last handled command: a new owner reads commands from behind it. Until a checkpoint of this
// state is durable, the commands log must be kept from there on.
func (s *State) In() Position { return s.in }

// Taken returns how many commands of a source partition are handled.
func (s *State) Taken(source events.Partition) uint64 { return s.taken.of(source) }

// Sent returns how many commands were given out to a destination.
func (s *State) Sent(destination events.Partition) uint64 { return s.sent.of(destination) }

// Broken reports whether an append of the current owner failed: nothing more comes of it.
func (s *State) Broken() bool { return s.broken }

// Count returns how many messages came to a verdict, since the first message of the log.
func (s *State) Count(v Verdict) uint64 { return s.counts[v] }

// Halt returns why reading has stopped for good; nil if it has not.
func (s *State) Halt() *Halt { return s.halt }

// Read takes the next message and says what it is. The frame aliases the message and is zero after a halt. Messages come in
// the order of their positions, each once: skipping one, or going back, is a halt here or later.
func (s *State) Read(m Message) (Verdict, Frame) {
	if s.halt != nil {
		return Halted, Frame{}
	}
	if m.At.Compare(s.at) <= 0 {
		return s.stop(m.At, &Halt{Reason: OutOfOrder, Last: s.at}), Frame{}
	}
	f, err := DecodeFrame(m.Body)
	if err != nil {
		return s.stop(m.At, &Halt{Reason: Unreadable, Cause: err}), Frame{}
	}
	if f.Partition != s.partition {
		return s.stop(m.At, &Halt{Reason: WrongPartition, From: events.Seq(f.Partition)}), Frame{}
	}
	v, halt := s.judge(&f)
	if halt != nil {
		return s.stop(m.At, halt), Frame{}
	}
	switch v {
	case Opened:
		s.open(&f)
	case Accepted:
		s.take(&f)
	case Late:
		s.broken = true
	case Duplicate, Stale, Foreign, Halted:
	}
	s.at = m.At
	s.counts[v]++
	return v, f
}

// judge is the accept rule. It changes nothing.
//
// In a log that lost nothing, whoever wrote a frame had read no more than what lies before it: so a frame whose owner had
// confirmed more than this reader accepted is a loss. So are records in an epoch whose opening is not there, and epochs that
// do not follow each other.
func (s *State) judge(f *Frame) (Verdict, *Halt) {
	if f.Open {
		return s.judgeOpening(f)
	}
	expected := s.seq + 1
	switch {
	case f.Epoch > s.epoch && !mutant.On(mutant.LostOpeningUnnoticed):
		return Halted, &Halt{Reason: LostOpening, Epoch: f.Epoch}
	case f.Epoch < s.epoch && f.Confirmed > s.base:
		return Halted, s.lost(s.base+1, f)
	case s.ownerOf(f.Epoch) != f.Owner && s.ownerOf(f.Epoch) != 0 && !mutant.On(mutant.SecondOwnerUnnoticed):
		return Halted, &Halt{Reason: TwoOwners, Epoch: f.Epoch, Owners: [2]events.OwnerID{s.ownerOf(f.Epoch), f.Owner}}
	case f.Epoch != s.epoch && !mutant.On(mutant.StaleRecordsAccepted):
		return Stale, nil
	case f.Confirmed < s.base && f.Epoch == s.epoch && !mutant.On(mutant.ReusedNumbersUnnoticed):
		return Halted, &Halt{Reason: ReusedNumbers, Epoch: f.Epoch, From: f.Confirmed + 1, To: s.base}
	case f.Confirmed > s.seq && !mutant.On(mutant.LostRecordsUnnoticed):
		return Halted, s.lost(expected, f)
	case f.First > expected && mutant.On(mutant.EveryGapHalts):
		return Halted, s.lost(expected, f)
	case s.broken, f.First > expected && !mutant.On(mutant.GapAccepted):
		return Late, nil
	case f.Last() < expected && !mutant.On(mutant.RepeatedFrameAccepted):
		return Duplicate, nil
	case f.First < expected && !mutant.On(mutant.RepeatedFrameAccepted):
		return Halted, &Halt{Reason: Overlap, Epoch: f.Epoch, From: f.First, To: f.Last(), Known: s.seq}
	}
	return Accepted, s.checkCounters(f)
}

func (s *State) judgeOpening(f *Frame) (Verdict, *Halt) {
	switch {
	case s.epoch > 0 && f.Log != s.log:
		return Foreign, nil
	case f.Confirmed > s.seq && !mutant.On(mutant.LostRecordsUnnoticed):
		return Halted, s.lost(s.seq+1, f)
	case f.Epoch == s.epoch && f.Owner == s.owner:
		return Duplicate, nil
	case f.Epoch <= s.epoch && !mutant.On(mutant.StaleOpeningAccepted):
		return Stale, nil
	case f.Epoch > s.epoch+1 && !mutant.On(mutant.LostOpeningUnnoticed):
		return Halted, &Halt{Reason: LostOpening, Epoch: s.epoch + 1}
	}
	return Opened, nil
}

// ownerOf returns the owner of an epoch up to the current one, 0 when it is not remembered.
func (s *State) ownerOf(epoch uint64) events.OwnerID {
	back := s.epoch - epoch
	switch {
	case back == 0:
		return s.owner
	case back <= uint64(len(s.past)):
		return s.past[uint64(len(s.past))-back]
	}
	return 0
}

// open begins an epoch.
func (s *State) open(f *Frame) {
	if s.epoch > 0 {
		s.past = append(s.past, s.owner)
		s.past = s.past[max(0, len(s.past)-MaxPast):]
	}
	s.log, s.epoch, s.owner, s.base, s.broken = f.Log, f.Epoch, f.Owner, s.seq, false
}

func (s *State) lost(from events.Seq, f *Frame) *Halt {
	return &Halt{Reason: LostRecords, Epoch: f.Epoch, Owners: [2]events.OwnerID{f.Owner}, From: from, To: max(f.Confirmed, from)}
}

// checkCounters holds an acceptable frame against the counters of pairs of partitions.
func (s *State) checkCounters(f *Frame) *Halt {
	bad := func(p events.Partition, n, known uint64) *Halt {
		return &Halt{Reason: BadCounter, Epoch: f.Epoch, From: f.First, To: f.Last(), Partner: Counter{p, n}, Known: events.Seq(known)}
	}
	if f.In.Compare(s.in) < 0 {
		return bad(s.partition, f.In.Entry, s.in.Entry)
	}
	for _, c := range f.Taken {
		if known := s.taken.of(c.Partition); c.N <= known && !mutant.On(mutant.RepeatedCommandTaken) {
			return bad(c.Partition, c.N, known)
		}
	}
	for i, c := range f.Sent {
		known := s.sent.of(c.To)
		for _, earlier := range f.Sent[:i] {
			if earlier.To == c.To {
				known = earlier.N
			}
		}
		if c.N != known+1 {
			return bad(c.To, c.N, known)
		}
	}
	return nil
}

// take takes over an accepted frame.
func (s *State) take(f *Frame) {
	s.seq, s.in = f.Last(), f.In
	for _, c := range f.Taken {
		s.taken.set(c.Partition, c.N)
	}
	for _, c := range f.Sent {
		s.sent.set(c.To, c.N)
	}
}

// stop halts; everything else stays as it was before the message at that position.
func (s *State) stop(at Position, h *Halt) Verdict {
	h.Partition, h.At = s.partition, at
	s.halt = h
	s.counts[Halted]++
	return Halted
}
