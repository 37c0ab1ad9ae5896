package fold

import (
	"encoding/binary"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Limits of messages.
const (
	// MaxFrameBytes bounds one encoded frame. It leaves room below the 5 MiB that brokers allow for a message by default.
	MaxFrameBytes = 4 << 20
	// MaxClusterBytes bounds the name of a log.
	MaxClusterBytes = 64
)

// Identity names a log. It is in every opening: an owner of another cluster, or one that was configured with another number
// of partitions, cannot open this one.
type Identity struct {
	Cluster    string
	Partitions uint16
}

// Forward is a command from an accepted frame to another partition. N counts those of one pair of partitions from 1.
type Forward struct {
	To   events.Partition
	N    uint64
	Body []byte // an encoded envelope
}

// Frame is one message of an events log; readers accept or refuse it as a whole. It is an opening, by which an owner begins
// its epoch, or it carries records.
//
//	content  bytes
//	      0      1  kind: 1 opening, 2 records
//	      1      2  partition
//	      3      8  epoch
//	     11      8  owner
//	     19      8  confirmed
//	opening:
//	     27      2  partitions of the log
//	     29    1+n  cluster
//	records:
//	     27      8  first seq
//	     35      4  count
//	     39     20  in: segment, entry, index
//	     59  2+10n  taken: source, n
//	      …      2  forwards, each: destination 2, n 8, length 4, body
//	      …         records: a frame of pkg/events
type Frame struct {
	Partition events.Partition
	Epoch     uint64
	Owner     events.OwnerID
	// Confirmed is the highest seq that the owner had read back as accepted when it made the frame: its own, or of owners
	// before it.
	Confirmed events.Seq

	// Open tells an opening; Log is set in openings alone, all that follows in frames of records alone.
	Open bool
	Log  Identity

	First events.Seq
	Count uint32 // at least 1
	// In is the position of the last command that this frame and those before it have handled.
	In Position
	// Taken has the numbers of the newest handled commands from other partitions, for those sources that have moved.
	Taken []Counter
	// Sent are commands to other partitions.
	Sent []Forward
	// Records is an encoded frame of package events with the records First … Last.
	Records []byte
}

// Last returns the seq of the last record.
func (f *Frame) Last() events.Seq { return f.First + events.Seq(f.Count) - 1 }

const (
	kindOpening = 1
	kindRecords = 2
)

// AppendFrame appends the encoded frame to dst.
func AppendFrame(dst []byte, f *Frame) []byte {
	from, kind := len(dst), byte(kindRecords)
	if f.Open {
		kind = kindOpening
	}
	dst = append(begin(dst, "ctf"), kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(f.Partition))
	dst = binary.BigEndian.AppendUint64(dst, f.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Owner))
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Confirmed))
	if f.Open {
		return seal(appendIdentity(dst, f.Log), from)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.First))
	dst = binary.BigEndian.AppendUint32(dst, f.Count)
	dst = appendPosition(dst, f.In)
	dst = appendCounters(dst, f.Taken)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(f.Sent)))
	for _, s := range f.Sent {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.To))
		dst = binary.BigEndian.AppendUint64(dst, s.N)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Body)))
		dst = append(dst, s.Body...)
	}
	return seal(append(dst, f.Records...), from)
}

// DecodeFrame reads a frame, which aliases b. The records in it are looked at as far as their prefixes go, not decoded. The
// error is a [DamageError] or a [NewerError].
func DecodeFrame(b []byte) (Frame, error) {
	in, err := open(b, "ctf", "frame")
	if err != nil {
		return Frame{}, err
	}
	kind := in.u8()
	f := Frame{
		Open: kind == kindOpening, Partition: events.Partition(in.u16()), Epoch: in.u64(), Owner: events.OwnerID(in.u64()), Confirmed: events.Seq(in.u64()),
	}
	switch {
	case kind != kindOpening && kind != kindRecords:
		return Frame{}, damaged("it is a frame of unknown kind %d", kind)
	case f.Epoch == 0 || f.Owner == 0:
		return Frame{}, damaged("its frame is of epoch %d and owner %d; both count from 1", f.Epoch, f.Owner)
	case f.Open:
		f.Log = in.identity()
		if err := in.done("frame"); err != nil {
			return Frame{}, err
		}
		return f, f.Log.validate()
	}
	f.First, f.Count, f.In = events.Seq(in.u64()), in.u32(), in.position()
	if f.Taken, err = in.counters(); err != nil {
		return Frame{}, err
	}
	if f.Sent, err = in.forwards(); err != nil {
		return Frame{}, err
	}
	if in.short {
		return Frame{}, damaged("a frame is cut")
	}
	f.Records = in.b
	return f, f.check()
}

func (in *input) forwards() ([]Forward, error) {
	n := int(in.u16())
	if n*14 > len(in.b) {
		return nil, damaged("%d forwarded commands are cut", n)
	}
	var list []Forward
	for range n {
		s := Forward{To: events.Partition(in.u16()), N: in.u64()}
		if s.Body = in.bytes(int(in.u32())); in.short {
			return nil, damaged("a forwarded command is cut")
		}
		list = append(list, s)
	}
	return list, nil
}

// check reports whether the numbers of a frame of records fit each other and its records.
func (f *Frame) check() error {
	records, err := events.OpenFrame(f.Records)
	if err != nil {
		return damaged("the records of its frame: %v", err)
	}
	first, last := records.First(), records.Last()
	switch {
	case f.First == 0 || f.Count == 0 || f.First+events.Seq(f.Count) < f.First:
		return damaged("its frame has %d records from %d on", f.Count, f.First)
	case f.Confirmed >= f.First:
		return damaged("its frame begins with record %d and says that %d is confirmed", f.First, f.Confirmed)
	case first.Partition != f.Partition, first.Seq != f.First, last.Seq != f.Last(), records.Len() != int(f.Count):
		return damaged("its frame announces records %d…%d of partition %d and has %d, %d…%d of partition %d",
			f.First, f.Last(), f.Partition, records.Len(), first.Seq, last.Seq, first.Partition)
	}
	return nil
}

func (log Identity) validate() error {
	switch {
	case log.Partitions == 0:
		return damaged("a log has no partitions")
	case len(log.Cluster) == 0 || len(log.Cluster) > MaxClusterBytes:
		return damaged("a cluster's name has %d bytes; 1 to %d are allowed", len(log.Cluster), MaxClusterBytes)
	}
	return nil
}
