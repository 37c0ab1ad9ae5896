package fold

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxInFlight bounds the frames of a writer that have not been read back.
const MaxInFlight = 64

// Errors of a writer, wrapped with what happened. After ErrFull and ErrTooLarge it goes on; all others have ended it.
var (
	// ErrFull: MaxInFlight frames have not been read back yet.
	ErrFull = errors.New("too many appends wait to be read back")
	// ErrTooLarge: the step does not fit in a message. Take fewer commands for one step, or move payloads into blobs.
	ErrTooLarge = errors.New("a step is too large for one message")
	// ErrSuperseded: another owner has opened a higher epoch, or was first in this one.
	ErrSuperseded = errors.New("another owner has the partition")
	// ErrRefused: an own frame was refused, so one before it did not arrive.
	ErrRefused = errors.New("an own append was refused")
	// ErrSend: the outcome of an append is not known, or it failed.
	ErrSend = errors.New("an append has failed or its outcome is unknown")
	// ErrForeign: the log belongs to another cluster, or was made with another number of partitions.
	ErrForeign = errors.New("the log is not this cluster's")
	// ErrInactive: the writer has not begun or has ended.
	ErrInactive = errors.New("the writer is not active")
)

// Writer is the owner's side of one ownership of a partition. It begins on what a reader has folded, best to the end of the
// log; when it began too early it only loses its race. Whatever an owner shows to others, it shows after [Writer.Confirmed]
// has covered it.
//
// A writer measures no time. The shell ends one whose opening or append does not come back for as long as it allows.
type Writer struct {
	state  *State
	id     events.OwnerID
	log    Identity
	epoch  uint64 // 0 before Open
	active bool
	err    error

	// What is true when all appends in flight are accepted.
	next   events.Seq
	in     Position
	sent   counters
	flight []inFlight

	// Commands.
	read  Position // of the last one taken from the log
	taken counters // up to there
	queue []taking // to handle, oldest first
	moved counters // those of taken that no frame has yet and whose commands are not in queue
}

// inFlight is an append that has not been read back.
type inFlight struct {
	last events.Seq
	sum  uint32
}

// taking is a command that was read and is not handled yet.
type taking struct {
	at   Position // of it, or of the last one behind it that is not to be handled
	from Counter  // N is 0 when it is not forwarded
}

// Step is what an owner wants to have in the journal as a whole.
type Step struct {
	// Records have consecutive sequence numbers from [Writer.Next] on, and the writer's epoch and owner.
	Records []*events.Record
	// Consumed is how many of the commands to handle the step handles, the oldest ones.
	Consumed int
	// Sent are encoded envelopes for other partitions, in order; N is given by the writer.
	Sent []Forward
}

// NewWriter begins an ownership on a state, which belongs to the writer from then on. The id must be a new random one for every
// writer: two ownerships with the same id could take each other's frames for their own.
func NewWriter(s *State, id events.OwnerID) *Writer { return &Writer{state: s, id: id} }

// State returns the fold that the writer reads with. It is for looking at and for cloning.
func (w *Writer) State() *State { return w.state }

// ID returns the owner id and Epoch the epoch, 0 before Open.
func (w *Writer) ID() events.OwnerID { return w.id }

// Epoch returns the epoch that was asked for; it is the writer's own once [Writer.Active] holds.
func (w *Writer) Epoch() uint64 { return w.epoch }

// Active reports whether the opening was read back as accepted and nothing has ended the writer.
func (w *Writer) Active() bool { return w.active && w.err == nil }

// Err returns what has ended the writer; nil if nothing has.
func (w *Writer) Err() error { return w.err }

// Next returns the sequence number of the next record. It means something while the writer is active.
func (w *Writer) Next() events.Seq { return w.next }

// Confirmed returns the last record that was read back as accepted: it and all before it are in every reading of the journal
// for ever. It says so of the writer's own while Err is nil; records above it may yet come to nothing.
func (w *Writer) Confirmed() events.Seq { return w.state.seq }

// InFlight returns how many appends have not been read back.
func (w *Writer) InFlight() int { return len(w.flight) }

// Open returns the opening to append; to be called once, when the log is read to its end.
func (w *Writer) Open(log Identity) ([]byte, error) {
	switch {
	case w.state.halt != nil:
		w.end(w.state.halt)
		return nil, w.err
	case w.epoch != 0 || w.err != nil:
		return nil, fmt.Errorf("%w: it opens once", ErrInactive)
	case log.validate() != nil:
		return nil, log.validate()
	case w.state.Foreign(log) != nil:
		w.end(w.state.Foreign(log))
		return nil, w.err
	}
	w.log, w.epoch = log, w.state.epoch+1
	if mutant.On(mutant.OpeningNotAwaited) {
		w.activate()
	}
	return AppendFrame(nil, &Frame{
		Open: true, Partition: w.state.partition, Epoch: w.epoch, Owner: w.id, Confirmed: w.state.seq, Log: log,
	}), nil
}

// Append returns the frame of a step to append, and keeps it as in flight; nil when the step has no records: what it consumes
// goes with the next one then, because a command without a record left nothing that a repetition could contradict.
// Frames must be appended in the order in which they were made. It fails with ErrFull and ErrTooLarge, and changes nothing
// then, and with what has ended the writer. A step that does not follow the last one is a broken invariant and panics.
func (w *Writer) Append(step Step) ([]byte, error) {
	switch {
	case w.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInactive, w.err)
	case !w.active:
		return nil, fmt.Errorf("%w: its opening was not read back", ErrInactive)
	case len(w.flight) >= MaxInFlight:
		return nil, fmt.Errorf("%w: %d", ErrFull, len(w.flight))
	}
	w.mustFollow(step)
	in, moved := w.in, slices.Clone(w.moved)
	for _, t := range w.queue[:step.Consumed] {
		in = t.at
		if t.from.N > 0 {
			moved.set(t.from.Partition, t.from.N)
		}
	}
	rest := w.queue[step.Consumed:]
	if len(step.Records) == 0 {
		w.queue, w.in, w.moved = rest, in, moved
		return nil, nil //nolint:nilnil // nothing to append is no error
	}
	f := &Frame{
		Partition: w.state.partition, Epoch: w.epoch, Owner: w.id, Confirmed: w.state.seq,
		First: w.next, Count: uint32(len(step.Records)), In: in, Taken: moved, Records: events.AppendFrame(nil, step.Records...),
	}
	sent := slices.Clone(w.sent)
	for _, s := range step.Sent {
		n := sent.of(s.To) + 1
		sent.set(s.To, n)
		f.Sent = append(f.Sent, Forward{To: s.To, N: n, Body: s.Body})
	}
	b := AppendFrame(nil, f)
	if len(b) > MaxFrameBytes {
		return nil, fmt.Errorf("%w: %d bytes, and the limit is %d; take fewer commands for one step", ErrTooLarge, len(b), MaxFrameBytes)
	}
	w.queue, w.in, w.moved, w.sent, w.next = rest, in, nil, sent, f.Last()+1
	w.flight = append(w.flight, inFlight{last: f.Last(), sum: crc32.Checksum(b, castagnoli)})
	return b, nil
}

// Read takes the next message of the events log, as [State.Read] does, and learns from it what became of the writer's own.
func (w *Writer) Read(m Message) (Verdict, Frame) {
	v, f := w.state.Read(m)
	mine := f.Epoch == w.epoch && (f.Owner == w.id || f.Open && mutant.On(mutant.OthersOpeningTaken))
	switch {
	case w.epoch == 0 || w.err != nil:
	case v == Halted:
		w.end(w.state.halt)
	case v == Opened && mine:
		if !w.active {
			w.activate()
		}
	case v == Opened && f.Log != w.log:
		w.end(fmt.Errorf("%w: cluster %q with %d partitions was here first", ErrForeign, f.Log.Cluster, f.Log.Partitions))
	case v == Opened:
		w.end(fmt.Errorf("%w: owner %d in epoch %d", ErrSuperseded, f.Owner, f.Epoch))
	case mine && v == Accepted:
		w.confirm(&f, m.Body)
	case mine && f.Open && v == Stale:
		w.end(fmt.Errorf("%w: owner %d in epoch %d", ErrSuperseded, w.state.owner, w.state.epoch))
	case mine && v == Late:
		w.end(fmt.Errorf("%w: records %d…%d of epoch %d came after record %d", ErrRefused, f.First, f.Last(), f.Epoch, w.state.seq))
	}
	return v, f
}

// confirm takes an accepted frame of this epoch and id from those in flight. It must be the oldest one.
func (w *Writer) confirm(f *Frame, b []byte) {
	if len(w.flight) == 0 || w.flight[0].last != f.Last() || w.flight[0].sum != crc32.Checksum(b, castagnoli) {
		w.end(fmt.Errorf("%w: records %d…%d of epoch %d and owner %d were written by somebody else with the same id", ErrSuperseded, f.First, f.Last(), f.Epoch, f.Owner))
		return
	}
	w.flight = w.flight[1:]
}

// Fail tells that an append has failed, or that nobody knows whether it has. The writer ends: appends behind it may be on
// their way and will be refused, and trying again could put them before it.
func (w *Writer) Fail(cause error) { w.end(fmt.Errorf("%w: %w", ErrSend, cause)) }

// Take takes the next command from the commands log and says what to do with it. Messages come in order, from behind
// [State.In] of the state on which the writer became active. What cannot be read ends the writer, because leaving it out
// could lose a command.
func (w *Writer) Take(m Message) (Command, Intake, error) {
	if !w.Active() {
		return Command{}, 0, fmt.Errorf("%w: no commands", ErrInactive)
	}
	c, err := DecodeCommand(m.Body)
	switch {
	case err == nil && m.At.Compare(w.read) <= 0:
		err = damaged("it was read after position %s", w.read)
	case err == nil && c.Partition != w.state.partition:
		err = damaged("it is a command of partition %d: check that topics are not shared or copied", c.Partition)
	}
	if err != nil {
		w.end(fmt.Errorf("the command at position %s of partition %d: %w", m.At, w.state.partition, err))
		return Command{}, 0, w.err
	}
	what := intake(&c, w.taken.of(c.Source))
	w.read = m.At
	switch {
	case what == Handle && c.Forwarded:
		w.taken.set(c.Source, c.N)
		w.queue = append(w.queue, taking{m.At, Counter{c.Source, c.N}})
	case what == Handle:
		w.queue = append(w.queue, taking{at: m.At})
	case len(w.queue) > 0:
		w.queue[len(w.queue)-1].at = m.At
	default:
		w.in = m.At
	}
	return c, what, nil
}

// activate begins the ownership on what is accepted.
func (w *Writer) activate() {
	w.active = true
	w.next, w.in, w.read = w.state.seq+1, w.state.in, w.state.in
	w.taken, w.sent = slices.Clone(w.state.taken), slices.Clone(w.state.sent)
}

func (w *Writer) end(err error) {
	if w.err == nil {
		w.err = err
	}
	w.flight, w.queue = nil, nil
}

// mustFollow panics if a step cannot follow the last one.
func (w *Writer) mustFollow(step Step) {
	switch {
	case len(step.Records) == 0 && len(step.Sent) > 0:
		panic("fold: a step without records sends commands")
	case step.Consumed < 0 || step.Consumed > len(w.queue):
		panic(fmt.Sprintf("fold: a step consumes %d commands and %d were taken", step.Consumed, len(w.queue)))
	}
	for i, r := range step.Records {
		if r.Partition != w.state.partition || r.Seq != w.next+events.Seq(i) {
			panic(fmt.Sprintf("fold: record %d of partition %d is appended where %d of partition %d is due",
				r.Seq, r.Partition, w.next+events.Seq(i), w.state.partition))
		}
	}
}
