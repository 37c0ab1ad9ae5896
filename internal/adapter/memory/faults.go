package memory

import "github.com/continuo-dev/continuo/pkg/events"

// CommitFault is what happens to a commit.
type CommitFault uint8

// The fates of a commit.
const (
	// CommitOK makes it durable.
	CommitOK CommitFault = iota
	// CommitLost loses it whole, as a torn write does: nothing is durable and the owner gets ErrLost.
	CommitLost
	// CommitUnknown makes it durable and tells the owner ErrLost all the same.
	CommitUnknown
)

// Faults are asked before things happen; a nil function means no fault. They are called with the store locked and must
// not call it.
type Faults struct {
	// Send refuses a command with the error it returns, such as journal.ErrFull or journal.ErrDiskFull.
	Send func(command events.Envelope) error
	// Commit decides what becomes of a commit in a partition.
	Commit func(p events.Partition, records []*events.Record) CommitFault
	// HoldDone keeps back calls of done until [Store.ReleaseDone] or Close; a crash loses them.
	HoldDone bool
}

// SetFaults replaces the faults of this life.
func (s *Store) SetFaults(f Faults) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.faults = f
}

// ReleaseDone calls the done functions that HoldDone kept back and holds no more.
func (s *Store) ReleaseDone() {
	s.disk.mu.Lock()
	s.faults.HoldDone = false
	s.disk.mu.Unlock()
	for p := range s.boxes {
		s.drain(events.Partition(p))
	}
}
