package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// ErrDamaged says that the store holds something that this suite did not write there. It names the file or the key. It is
// [journal.ErrDamaged], which the services know.
var ErrDamaged = journal.ErrDamaged

func damaged(key []byte, why string) error {
	return fmt.Errorf("%w: %s: %s; run 'continuo store check'", ErrDamaged, describeKey(key), why)
}

func appendSeq(dst []byte, seq events.Seq) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(seq))
}

// fields appends texts with their lengths in front.
func appendTexts(dst []byte, texts ...string) []byte {
	for _, s := range texts {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return dst
}

// readTexts reads exactly count texts; ok is false if b holds anything else.
func readTexts(b []byte, count int) (texts []string, ok bool) {
	for range count {
		n, width := binary.Uvarint(b)
		if width <= 0 || n > uint64(len(b)-width) {
			return nil, false
		}
		b = b[width:]
		texts = append(texts, string(b[:n]))
		b = b[n:]
	}
	return texts, len(b) == 0
}

func appendPlace(dst []byte, seq events.Seq, count int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(seq)), uint64(count))
}

// readPlace reads where a record of a history is and how many events it has.
func readPlace(key, value []byte) (seq events.Seq, count events.EventNumber, err error) {
	s, n := binary.Uvarint(value)
	if n > 0 {
		if c, m := binary.Uvarint(value[n:]); m > 0 && n+m == len(value) {
			return events.Seq(s), events.EventNumber(c), nil
		}
	}
	return 0, 0, damaged(key, "the value is not a place in the log")
}

func readSeq(key, value []byte) (events.Seq, error) {
	if len(value) != 8 {
		return 0, damaged(key, "the value is not a sequence number")
	}
	return events.Seq(binary.BigEndian.Uint64(value)), nil
}

// readRecord decodes the frame in an event row and checks that it is the record wanted there.
func readRecord(p events.Partition, seq events.Seq, value []byte) (*events.Record, error) {
	key := seqKey(famEvent, p, seq)
	records, err := events.DecodeFrame(value)
	var newer *events.NewerSchemaError
	var unknown *events.UnknownKindError
	switch {
	case errors.As(err, &newer), errors.As(err, &unknown):
		return nil, err
	case err != nil:
		return nil, damaged(key, err.Error())
	case len(records) != 1 || records[0].Partition != p || records[0].Seq != seq:
		return nil, damaged(key, "the frame holds another record")
	}
	return records[0], nil
}

func newestValue(n runstore.Newest) []byte {
	return append(n.RunID[:len(n.RunID):len(n.RunID)], byte(n.Status))
}

func readNewest(key, value []byte) (n runstore.Newest, err error) {
	if len(value) != 17 {
		return n, damaged(key, "the value does not name a run")
	}
	copy(n.RunID[:], value)
	n.Status = events.Status(value[16])
	return n, nil
}

func answerValue(a *runstore.KeptAnswer) []byte {
	return events.AppendAnswer(appendTime(nil, a.At), &a.Answer)
}

func readAnswer(key, value []byte) (a runstore.KeptAnswer, err error) {
	if len(value) < 8 {
		return a, damaged(key, "the value is not an answer")
	}
	a.At = readTime(value)
	if a.Answer, err = events.DecodeAnswer(value[8:]); err != nil {
		return a, damaged(key, err.Error())
	}
	return a, nil
}

func readCheckpoint(key, value []byte) (c runstore.Checkpoint, err error) {
	if len(value) < 8 {
		return c, damaged(key, "the value is not a checkpoint")
	}
	c.Next = events.Seq(binary.BigEndian.Uint64(value))
	if len(value) > 8 {
		c.State = append([]byte(nil), value[8:]...)
	}
	return c, nil
}

func endedValue(e *runstore.Ended) []byte {
	return appendTexts(nil, string(e.WorkflowID), string(e.Namespace))
}

func readEnded(key, value []byte) (e runstore.Ended, err error) {
	texts, ok := readTexts(value, 2)
	if !ok || len(key) != 27 {
		return e, damaged(key, "the row does not name an ended run")
	}
	e.Forget = readTime(key[3:])
	copy(e.RunID[:], key[11:])
	e.WorkflowID, e.Namespace = events.WorkflowID(texts[0]), events.Namespace(texts[1])
	return e, nil
}

func quarantinedValue(q *runstore.QuarantinedRun) []byte {
	return appendTexts(appendTime(nil, q.Since), string(q.WorkflowID), string(q.Namespace), q.Reason)
}

func readQuarantined(key, value []byte) (q runstore.QuarantinedRun, err error) {
	if len(value) < 8 || len(key) != 19 {
		return q, damaged(key, "the row does not name a quarantined run")
	}
	texts, ok := readTexts(value[8:], 3)
	if !ok {
		return q, damaged(key, "the row does not name a quarantined run")
	}
	q.Since = readTime(value)
	copy(q.RunID[:], key[3:])
	q.WorkflowID, q.Namespace, q.Reason = events.WorkflowID(texts[0]), events.Namespace(texts[1]), texts[2]
	return q, nil
}
