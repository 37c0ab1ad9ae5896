package events

// Schema is the version of the language that this build writes. A reader meets a newer one with an error that says to
// upgrade.
const Schema uint32 = 1

// MaxRecordBytes bounds one encoded record; larger payloads are spilled to blobs before.
const MaxRecordBytes = 1 << 20

// Header says where and when a record belongs.
type Header struct {
	Partition Partition
	// Epoch and Owner name the life of the engine that wrote the record; epochs never fall in a partition.
	Epoch uint64
	Owner OwnerID
	// Seq counts the partition's records from 1 without gaps.
	Seq Seq
	// Confirmed is the highest own seq the owner had read back when it wrote this record (brokers; embedded: Seq-1).
	Confirmed Seq
	// CausedBy is the position of the last command handled by this record in the command log; 0 where commands are not
	// logged on their own.
	CausedBy uint64
	// Time is when it happened; it never falls within a partition.
	Time   Time
	Schema uint32

	Namespace  Namespace
	WorkflowID WorkflowID
	RunID      RunID // zero in a record that belongs to no run
	// First is the number of the record's first event in the history of its run; the others follow. In a record without
	// events it is the number that the next event will have.
	First EventNumber
}

// Record is the unit of the event log: the events of one run caused by one batch of commands, and the answers to those
// commands. It is durable as a whole or not at all. Records are immutable once written; readers share them.
type Record struct {
	Header
	Events  []Event
	Answers []Answer
	// Unknown is what a newer version wrote into the record and this one keeps; nil nearly always.
	Unknown *Unknown
}

// Last returns the number of the record's last event, or First-1 when it has none.
func (r *Record) Last() EventNumber { return r.First + EventNumber(len(r.Events)) - 1 }

// Status is the state of a run as readers see it.
type Status uint8

// The states of a run.
const (
	StatusUnknown Status = iota
	StatusRunning
	StatusCompleted
	StatusFailed
	StatusCancelled
	StatusTerminated
	StatusTimedOut
)

// Open reports whether the run has not ended.
func (s Status) Open() bool { return s == StatusRunning }

// String returns the stable lower-case name, such as "timed_out".
func (s Status) String() string {
	switch s {
	case StatusRunning:
		return "running"
	case StatusCompleted:
		return "completed"
	case StatusFailed:
		return "failed"
	case StatusCancelled:
		return "cancelled"
	case StatusTerminated:
		return "terminated"
	case StatusTimedOut:
		return "timed_out"
	case StatusUnknown:
	}
	return "unknown"
}

// ParseStatus reads the name of a status.
func ParseStatus(name string) (Status, bool) {
	for s := StatusRunning; s <= StatusTimedOut; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return StatusUnknown, false
}

// StatusAfter returns the status of a run after e, given the one before.
func StatusAfter(before Status, e Event) Status {
	switch e.(type) {
	case RunStarted:
		return StatusRunning
	case RunCompleted:
		return StatusCompleted
	case RunFailed:
		return StatusFailed
	case RunCancelled:
		return StatusCancelled
	case RunTerminated:
		return StatusTerminated
	case RunTimedOut:
		return StatusTimedOut
	default:
		return before
	}
}
