package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Every key begins with the family and, but for the store's own rows, the partition in 2 bytes. Numbers are big-endian, so
// that keys sort as what they mean; signed times are shifted into the unsigned range.
//
//	family  rest of the key                            value
//	m       name                                       the store's own: format, mark
//	p       part                                       epoch of the last owner 8
//	b       part                                       first readable seq 8
//	h       part reader                                seq of the hold 8
//	e       part seq 8                                 frame of one record
//	g       part seq 8                                 empty: goes with the trim, because no history keeps it
//	x       part run 16, first event 8                 seq, number of events (uvarint): the archive
//	r       part run 16                                row of a run
//	n       part length of namespace 2 namespace id    newest run 16, status 1
//	a       part run 16, request                       time 8, answer
//	c       part                                       checkpoint: seq 8, state
//	z       part time 8, run 16                        workflow id and namespace of an ended run
//	q       part run 16                                time 8, workflow id, namespace, reason
//	s       part                                       seq that the scheduler folds next 8
//	d       part kind 1, due 8, key 29                 body of an item
//	k       part run 16, kind 1, timer 13              due 8 of the item with that key
const (
	famMeta        = 'm'
	famPartition   = 'p'
	famFirst       = 'b'
	famHold        = 'h'
	famEvent       = 'e'
	famGarbage     = 'g'
	famHistory     = 'x'
	famRun         = 'r'
	famNewest      = 'n'
	famAnswer      = 'a'
	famCheckpoint  = 'c'
	famEnded       = 'z'
	famQuarantined = 'q'
	famDuePosition = 's'
	famDue         = 'd'
	famDueKey      = 'k'
)

// families names all families for reports, in the order of their letters.
var families = []struct {
	letter byte
	name   string
}{
	{famAnswer, "kept answers"},
	{famFirst, "beginnings"},
	{famCheckpoint, "checkpoints"},
	{famDue, "due items"},
	{famEvent, "records"},
	{famGarbage, "records to trim"},
	{famHold, "holds"},
	{famDueKey, "due items by run"},
	{famMeta, "format"},
	{famNewest, "newest runs"},
	{famPartition, "epochs"},
	{famQuarantined, "quarantined runs"},
	{famRun, "runs"},
	{famDuePosition, "scheduler positions"},
	{famHistory, "history index"},
	{famEnded, "ended runs"},
}

var (
	keyFormat = []byte{famMeta, 'f'}
	keyMark   = []byte{famMeta, 'm'}
)

// prefix begins the keys of a family in a partition.
func prefix(family byte, p events.Partition) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, 48), family), uint16(p))
}

// after returns the end of the keys that begin with prefix. No family is 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

func appendTime(k []byte, t events.Time) []byte {
	return binary.BigEndian.AppendUint64(k, uint64(t)^1<<63)
}

func readTime(b []byte) events.Time { return events.Time(binary.BigEndian.Uint64(b) ^ 1<<63) }

func seqKey(family byte, p events.Partition, seq events.Seq) []byte {
	return binary.BigEndian.AppendUint64(prefix(family, p), uint64(seq))
}

// seqOf returns the sequence number of a key of records or garbage.
func seqOf(key []byte) (events.Seq, bool) {
	if len(key) != 11 {
		return 0, false
	}
	return events.Seq(binary.BigEndian.Uint64(key[3:])), true
}

func runKey(family byte, p events.Partition, run events.RunID) []byte {
	return append(prefix(family, p), run[:]...)
}

func historyKey(p events.Partition, run events.RunID, first events.EventNumber) []byte {
	return binary.BigEndian.AppendUint64(runKey(famHistory, p, run), uint64(first))
}

// historyOf returns the run and event number of a key of the history index.
func historyOf(key []byte) (run events.RunID, first events.EventNumber, ok bool) {
	if len(key) != 27 {
		return run, 0, false
	}
	copy(run[:], key[3:])
	return run, events.EventNumber(binary.BigEndian.Uint64(key[19:])), true
}

func newestKey(p events.Partition, ns events.Namespace, id events.WorkflowID) []byte {
	k := binary.BigEndian.AppendUint16(prefix(famNewest, p), uint16(len(ns)))
	return append(append(k, ns...), id...)
}

func answerKey(p events.Partition, run events.RunID, request events.RequestID) []byte {
	return append(runKey(famAnswer, p, run), request...)
}

func endedKey(p events.Partition, at events.Time, run events.RunID) []byte {
	return append(appendTime(prefix(famEnded, p), at), run[:]...)
}

func holdKey(p events.Partition, reader string) []byte { return append(prefix(famHold, p), reader...) }

const (
	timerBytes  = 13
	dueBytes    = 3 + 1 + 8 + 16 + timerBytes
	dueKeyBytes = 3 + 16 + 1 + timerBytes
)

func appendTimer(k []byte, t events.TimerID) []byte {
	k = binary.BigEndian.AppendUint64(append(k, byte(t.Kind)), uint64(t.Step))
	return binary.BigEndian.AppendUint32(k, uint32(t.Attempt))
}

func readTimer(b []byte) events.TimerID {
	return events.TimerID{
		Kind: events.TimerKind(b[0]), Step: events.Step(binary.BigEndian.Uint64(b[1:])), Attempt: events.Attempt(binary.BigEndian.Uint32(b[9:])),
	}
}

func dueKey(p events.Partition, due events.Time, key dueindex.Key) []byte {
	k := appendTime(append(prefix(famDue, p), byte(key.Kind)), due)
	return appendTimer(append(k, key.RunID[:]...), key.Timer)
}

// dueOf returns the time and key of a due item.
func dueOf(k []byte) (due events.Time, key dueindex.Key, ok bool) {
	if len(k) != dueBytes {
		return 0, key, false
	}
	key.Kind = dueindex.Kind(k[3])
	copy(key.RunID[:], k[12:])
	key.Timer = readTimer(k[28:])
	return readTime(k[4:]), key, true
}

func byRunKey(p events.Partition, key dueindex.Key) []byte {
	return appendTimer(append(runKey(famDueKey, p, key.RunID), byte(key.Kind)), key.Timer)
}

// byRunOf returns the key of an item from its key by run.
func byRunOf(k []byte) (key dueindex.Key, ok bool) {
	if len(k) != dueKeyBytes {
		return key, false
	}
	copy(key.RunID[:], k[3:])
	key.Kind = dueindex.Kind(k[19])
	key.Timer = readTimer(k[20:])
	return key, true
}

// describeKey names a key in messages.
func describeKey(k []byte) string {
	for _, f := range families {
		if len(k) > 0 && k[0] == f.letter {
			if len(k) < 3 || k[0] == famMeta {
				return fmt.Sprintf("%s %x", f.name, k)
			}
			return fmt.Sprintf("%s, partition %d, key %x", f.name, binary.BigEndian.Uint16(k[1:]), k)
		}
	}
	return fmt.Sprintf("unknown key %x", k)
}
