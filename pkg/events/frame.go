package events

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// A frame carries records of one partition in ascending order, accepted or refused as a whole: a stretch of a log, or a
// stretch of the history of a run, where sequence numbers have gaps. Each record has a prefix of fixed size in front, by
// which a reader finds what concerns it and steps over the rest. All numbers are big-endian.
//
//	offset  bytes
//	     0      1  version of the frame: 1
//	     1      1  flags: see Route.Flags
//	     2      2  partition
//	     4      2  schema of the record
//	     6      2  records that follow in the frame
//	     8      8  seq
//	    16     16  run id
//	    32      4  length of the body
//	    36      4  CRC-32C of the body
//	    40      4  CRC-32C of the prefix up to here
//	    44         body: a Record message

const (
	frameVersion = 1
	prefixBytes  = 44
)

// MaxFrameRecords is the largest number of records in one frame.
const MaxFrameRecords = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// RouteFlags tell what a record holds, without decoding it.
type RouteFlags uint8

// The flags of a record in a frame. Bits that are not named here are a newer version's and mean nothing.
const (
	RouteHasEvents  RouteFlags = 1 << iota // at least one event
	RouteHasAnswers                        // at least one answer
	RouteEndsRun                           // an event that ends the run
	RouteHasEffects                        // [Effects] is not empty
	RouteOpensWork                         // it offers a task or an activation
)

// Has reports whether all of the given flags are set.
func (f RouteFlags) Has(all RouteFlags) bool { return f&all == all }

// Route is what the prefix of a record in a frame says.
type Route struct {
	Partition Partition
	Seq       Seq
	RunID     RunID
	Schema    uint32
	Flags     RouteFlags
}

// RouteOf returns the route of a record.
func RouteOf(r *Record) Route {
	route := Route{Partition: r.Partition, Seq: r.Seq, RunID: r.RunID, Schema: r.Schema}
	if len(r.Events) > 0 {
		route.Flags |= RouteHasEvents
	}
	if len(r.Answers) > 0 {
		route.Flags |= RouteHasAnswers
	}
	for _, e := range r.Events {
		route.Flags |= flagsOf(e)
	}
	return route
}

func flagsOf(e Event) RouteFlags {
	switch e := e.(type) {
	case RunStarted:
		if e.RunTimeout > 0 {
			return RouteHasEffects
		}
		return 0
	case TaskScheduled, TaskAttemptFailed, ActivationScheduled:
		return RouteOpensWork | RouteHasEffects
	case ProgressMade, ProgressRefused, ActivationFailed, ActivationTimedOut, TaskCompleted, TaskFailed, TaskCancelled,
		TimerStarted, TimerFired, TimerCancelled, StepBackedOff, StepRetryDue:
		return RouteHasEffects
	case RunCompleted, RunFailed, RunCancelled, RunTerminated, RunTimedOut:
		return RouteEndsRun | RouteHasEffects
	case RunQuarantined, RunReleased, RunPurged, RunContinued, CancelRequested, SignalReceived, ViewSet, StepRecorded,
		HeartbeatRecorded, EpochStarted:
		return 0
	}
	return 0
}

// AppendFrame appends a frame of the records to dst; of none, nothing. The records must be of one partition, with
// ascending sequence numbers, at most [MaxFrameRecords]: it panics otherwise.
func AppendFrame(dst []byte, records ...*Record) []byte {
	if len(records) > MaxFrameRecords {
		panic(fmt.Sprintf("events: a frame of %d records; the limit is %d", len(records), MaxFrameRecords))
	}
	for i, r := range records {
		if i > 0 && (r.Partition != records[i-1].Partition || r.Seq <= records[i-1].Seq) {
			panic(fmt.Sprintf("events: record %d of a frame is at partition %d, seq %d after partition %d, seq %d",
				i, r.Partition, r.Seq, records[i-1].Partition, records[i-1].Seq))
		}
		start := len(dst)
		dst = append(dst, make([]byte, prefixBytes)...)
		dst = AppendRecord(dst, r)
		putPrefix(dst[start:], RouteOf(r), len(records)-1-i)
	}
	return dst
}

// putPrefix fills the prefix of the record that b holds.
func putPrefix(b []byte, route Route, following int) {
	body := b[prefixBytes:]
	b[0], b[1] = frameVersion, byte(route.Flags)
	binary.BigEndian.PutUint16(b[2:], uint16(route.Partition))
	binary.BigEndian.PutUint16(b[4:], uint16(min(route.Schema, 1<<16-1)))
	binary.BigEndian.PutUint16(b[6:], uint16(following))
	binary.BigEndian.PutUint64(b[8:], uint64(route.Seq))
	copy(b[16:], route.RunID[:])
	binary.BigEndian.PutUint32(b[32:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[36:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
}

// Frame is an encoded frame whose prefixes have been checked. It aliases the bytes it was opened on.
type Frame struct {
	b           []byte
	first, last Route
	n           int
}

// Framed is one record of a frame: its route, and its body, which is decoded on demand. It aliases the frame's bytes.
type Framed struct {
	Route
	body []byte
	crc  uint32
}

// OpenFrame checks the prefixes of a frame, that it is complete and that nothing follows it. Bodies are not looked at. The
// error is a [CorruptError], which names partition and seq as far as they can be read.
func OpenFrame(b []byte) (Frame, error) {
	f := Frame{b: b}
	left := 0
	for rest := b; ; {
		record, following, after, corrupt := framed(rest)
		if corrupt != nil {
			if corrupt.Seq == 0 && f.n > 0 {
				corrupt.Partition, corrupt.Seq = f.last.Partition, f.last.Seq
				corrupt.Reason = "the record after it in its frame: " + corrupt.Reason
			}
			return Frame{}, corrupt
		}
		bad := func(format string, args ...any) (Frame, error) {
			return Frame{}, &CorruptError{record.Partition, record.Seq, fmt.Sprintf(format, args...)}
		}
		switch {
		case f.n > 0 && (record.Partition != f.last.Partition || record.Seq <= f.last.Seq):
			return bad("in its frame it follows partition %d, seq %d", f.last.Partition, f.last.Seq)
		case f.n > 0 && following != left-1:
			return bad("in its frame %d records follow it instead of %d", following, left-1)
		case following > 0 && len(after) == 0:
			return bad("its frame is cut: %d more records are missing", following)
		case following == 0 && len(after) > 0:
			return bad("%d bytes follow its frame", len(after))
		}
		if f.n == 0 {
			f.first = record.Route
		}
		f.last, left = record.Route, following
		f.n++
		if following == 0 {
			return f, nil
		}
		rest = after
	}
}

// framed reads the first prefix of b.
func framed(b []byte) (record Framed, following int, rest []byte, corrupt *CorruptError) {
	if len(b) < prefixBytes {
		return Framed{}, 0, nil, &CorruptError{Reason: fmt.Sprintf("a frame of %d bytes; a prefix alone has %d", len(b), prefixBytes)}
	}
	record = Framed{
		Route: Route{
			Partition: Partition(binary.BigEndian.Uint16(b[2:])),
			Schema:    uint32(binary.BigEndian.Uint16(b[4:])),
			Seq:       Seq(binary.BigEndian.Uint64(b[8:])),
			RunID:     RunID(b[16:32]),
			Flags:     RouteFlags(b[1]),
		},
		crc: binary.BigEndian.Uint32(b[36:]),
	}
	bad := func(format string, args ...any) (Framed, int, []byte, *CorruptError) {
		return Framed{}, 0, nil, &CorruptError{record.Partition, record.Seq, fmt.Sprintf(format, args...)}
	}
	if b[0] != frameVersion {
		return bad("its frame has version %d instead of %d", b[0], frameVersion)
	}
	if sum, want := crc32.Checksum(b[:40], castagnoli), binary.BigEndian.Uint32(b[40:]); sum != want {
		return bad("its prefix has checksum %08x instead of %08x", sum, want)
	}
	size := uint64(binary.BigEndian.Uint32(b[32:]))
	if size > uint64(len(b)-prefixBytes) {
		return bad("its body is cut: %d of %d bytes", len(b)-prefixBytes, size)
	}
	end := prefixBytes + int(size)
	record.body = b[prefixBytes:end]
	return record, int(binary.BigEndian.Uint16(b[6:])), b[end:], nil
}

// Len returns the number of records, at least 1.
func (f Frame) Len() int { return f.n }

// First returns the route of the first record.
func (f Frame) First() Route { return f.first }

// Last returns the route of the last record.
func (f Frame) Last() Route { return f.last }

// All walks over the records in order, without decoding them.
func (f Frame) All() iter.Seq[Framed] {
	return func(yield func(Framed) bool) {
		rest := f.b
		for range f.n {
			record, _, after, err := framed(rest)
			if err != nil || !yield(record) {
				return // an error cannot be: OpenFrame saw these bytes
			}
			rest = after
		}
	}
}

// Record checks and decodes the record, which does not alias the frame. A body whose checksum does not fit is a
// [CorruptError]; a record of a newer schema is a [NewerSchemaError], by the prefix alone.
func (f Framed) Record() (*Record, error) {
	r := new(Record)
	if err := f.record(r, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// record reads the record into r, which is zero; see decodeRecord.
func (f Framed) record(r *Record, wanted *EventSet) error {
	if f.Schema > Schema {
		return &NewerSchemaError{Partition: f.Partition, Seq: f.Seq, Schema: f.Schema}
	}
	if sum := crc32.Checksum(f.body, castagnoli); sum != f.crc && !mutant.On(mutant.BodyChecksumIgnored) {
		return &CorruptError{f.Partition, f.Seq, fmt.Sprintf("its body has checksum %08x instead of %08x", sum, f.crc)}
	}
	if err := decodeRecord(r, f.body, wanted); err != nil {
		return err
	}
	if r.Partition != f.Partition || r.Seq != f.Seq || r.RunID != f.RunID || r.Schema != f.Schema {
		return &CorruptError{f.Partition, f.Seq, fmt.Sprintf("its body is that of partition %d, seq %d", r.Partition, r.Seq)}
	}
	return nil
}

// DecodeFrame opens a frame and decodes all its records, or none.
func DecodeFrame(b []byte) ([]*Record, error) {
	f, err := OpenFrame(b)
	if err != nil {
		return nil, err
	}
	records := make([]*Record, 0, f.Len())
	for framed := range f.All() {
		r, err := framed.Record()
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// DecodeFrameOnly appends to dst what [DecodeFrame] gives a reader of one run who needs some kinds of events only: those of all
// other kinds that this build knows are counted but not read, and become the zero values of their kinds. Workflow ids and
// answers are left out. The records must not be encoded again. Records in the room behind dst, of an earlier call, are used
// again. After an error there are none but those of dst.
func DecodeFrameOnly(dst []*Record, b []byte, wanted EventSet) ([]*Record, error) {
	f, err := OpenFrame(b)
	if err != nil {
		return dst, err
	}
	records := slices.Grow(dst, f.Len())
	for framed := range f.All() {
		n := len(records)
		records = records[:n+1]
		if records[n] == nil {
			records[n] = new(Record)
		}
		*records[n] = Record{Events: records[n].Events[:0]}
		if err := framed.record(records[n], &wanted); err != nil {
			return dst, err
		}
	}
	return records, nil
}

// allEvents are all kinds of events that this build knows.
var allEvents = func() (s EventSet) {
	for _, k := range eventKinds {
		s |= 1 << k.Number
	}
	return s
}()
