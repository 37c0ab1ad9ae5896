package fold

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Reason says what a log contradicts.
type Reason uint8

// The reasons to halt. None of them can come from repeated, late or failed appends, from several owners or from a wrong
// take-over: the log has lost something, was changed, or is not this reader's.
const (
	// LostRecords: an owner had read records back that are not there.
	LostRecords Reason = iota + 1
	// LostOpening: records of an epoch whose opening is not there.
	LostOpening
	// ReusedNumbers: this reader knows records that the current owner did not find, and their numbers are used again.
	ReusedNumbers
	// TwoOwners: two owners have read back their opening of one epoch.
	TwoOwners
	// Overlap: a frame begins within what is accepted and ends behind it.
	Overlap
	// BadCounter: a frame counts commands in another way than those before it.
	BadCounter
	// OutOfOrder: positions do not rise.
	OutOfOrder
	// WrongPartition: a frame of another partition.
	WrongPartition
	// Unreadable: a damaged, foreign or newer message.
	Unreadable
)

// Halt says why a reader has stopped for good. It is an error; its text names what is missing and the way out. Every reader
// that meets the same messages halts at the same one; none of them goes on by itself, because whatever it accepted next
// could contradict what others have seen.
type Halt struct {
	Partition events.Partition
	At        Position // of the message that showed it
	Reason    Reason
	Epoch     uint64            // of that message
	Owners    [2]events.OwnerID // LostRecords: who had read them; TwoOwners: both
	From, To  events.Seq        // LostRecords, ReusedNumbers: which; Overlap, BadCounter: of the frame; WrongPartition: From is it
	Known     events.Seq        // Overlap: the last accepted record; BadCounter: the last count
	Partner   Counter           // BadCounter: what the frame says
	Last      Position          // OutOfOrder: what was read before
	Cause     error             // Unreadable
}

const (
	restore = "restore the topic from its replicas or a backup, or begin a new log from the archive"
	program = "this is a defect of the program that wrote it: keep the log and report it"
)

// Error tells what happened where, and what to do.
func (h *Halt) Error() string {
	return fmt.Sprintf("partition %d is halted at position %s: %s", h.Partition, h.At, h.what())
}

// Unwrap returns the cause.
func (h *Halt) Unwrap() error { return h.Cause }

func (h *Halt) what() string {
	switch h.Reason {
	case LostRecords:
		return fmt.Sprintf("records %d…%d are missing; owner %d of epoch %d had read them: %s", h.From, h.To, h.Owners[0], h.Epoch, restore)
	case LostOpening:
		return fmt.Sprintf("the opening of epoch %d is missing: %s", h.Epoch, restore)
	case ReusedNumbers:
		return fmt.Sprintf("records %d…%d were in the log and the owner of epoch %d did not find them, so that their numbers are used again: %s",
			h.From, h.To, h.Epoch, restore)
	case TwoOwners:
		return fmt.Sprintf("owners %d and %d both have opened epoch %d, so the log has lost what one of them had read: %s", h.Owners[0], h.Owners[1], h.Epoch, restore)
	case Overlap:
		return fmt.Sprintf("the frame of records %d…%d in epoch %d overlaps record %d, the last one: %s", h.From, h.To, h.Epoch, h.Known, program)
	case BadCounter:
		return fmt.Sprintf("the frame of records %d…%d counts %d with partition %d after %d: %s", h.From, h.To, h.Partner.N, h.Partner.Partition, h.Known, program)
	case OutOfOrder:
		return fmt.Sprintf("it was read after position %s; the topic was made anew, or its checkpoint belongs to another one: %s", h.Last, restore)
	case WrongPartition:
		return fmt.Sprintf("a frame of partition %d is here: check that topics are not shared or copied", h.From)
	case Unreadable:
		return fmt.Sprintf("the message cannot be read: %v", h.Cause)
	}
	return "unknown reason"
}
