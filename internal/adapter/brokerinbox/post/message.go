package post

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/continuo-dev/continuo/pkg/events"
)

// A message is what one process appends to one partition at a time: items that follow each other.
//
//	content  bytes
//	      0      1  version
//	      1      4  checksum (CRC-32C) of what follows
//	      5      8  life: the process that sends, a random number for each of its lives
//	     13      …  n, low
//	      …      …  items: kind (1), session (8), length, body
//
// Fixed numbers are big-endian, others are varints. Readers skip kinds of items that they do not know, and what follows the
// fields they know within an item. Messages live for seconds: a process skips those it cannot read.
const version = 1

const headerBytes = 13

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// message is one message. N counts those of a sender in a partition from 1; all below Low have come back to the sender from
// the log, in their order.
type message struct {
	life   uint64
	n, low uint64
	items  []item
}

type kind uint8

const (
	deliveries kind = iota + 1 // of a scheduler to a gateway's session
	report                     // of a gateway's session, like all that follow except question
	ack                        // how many deliveries it took
	state                      // its present state, or a piece of it
	gone                       // it has ended
	question                   // asks sessions for their present state
)

type item struct {
	kind    kind
	session events.SessionID // 0 means all, in a question
	body    []byte
}

func appendItem(dst []byte, i item) []byte {
	dst = append(dst, byte(i.kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(i.session))
	dst = binary.AppendUvarint(dst, uint64(len(i.body)))
	return append(dst, i.body...)
}

// appendMessage appends the encoded message to dst; items are encoded already.
func appendMessage(dst []byte, life, n, low uint64, items []byte) []byte {
	start := len(dst)
	dst = append(dst, version, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, life)
	dst = binary.AppendUvarint(dst, n)
	dst = binary.AppendUvarint(dst, low)
	dst = append(dst, items...)
	binary.BigEndian.PutUint32(dst[start+1:], crc32.Checksum(dst[start+5:], castagnoli))
	return dst
}

var errCut = errors.New("the message is cut")

// decodeMessage reads a message; its items alias b.
func decodeMessage(b []byte) (message, error) {
	switch {
	case len(b) < headerBytes || b[0] != version:
		return message{}, fmt.Errorf("%d bytes are not a message of version %d", len(b), version)
	case crc32.Checksum(b[5:], castagnoli) != binary.BigEndian.Uint32(b[1:]):
		return message{}, fmt.Errorf("a message of %d bytes does not fit its checksum", len(b))
	}
	r := reading{b: b[5:]}
	m := message{life: r.fixed(), n: r.number(), low: r.number()}
	if r.err == nil && (m.low == 0 || m.n < m.low) {
		r.err = fmt.Errorf("message %d comes after all below %d", m.n, m.low)
	}
	for r.err == nil && len(r.b) > 0 {
		i := item{kind: kind(r.byte()), session: events.SessionID(r.fixed())}
		i.body = r.bytes()
		m.items = append(m.items, i)
	}
	return m, r.err
}

// reading reads fields; after the first error everything is zero.
type reading struct {
	b   []byte
	err error
}

func (r *reading) fail() {
	if r.err == nil {
		r.err = errCut
	}
	r.b = nil
}

func (r *reading) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reading) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reading) fixed() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reading) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if r.err != nil || size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reading) signed() int64 {
	n, size := binary.Varint(r.b)
	if r.err != nil || size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reading) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	return r.take(int(n))
}

func (r *reading) run() (id events.RunID) {
	copy(id[:], r.take(len(id)))
	return id
}

func text[T ~string](r *reading) T { return T(r.bytes()) }

// list reads a count and as many elements, each of which has a byte at least.
func list[T any](r *reading, element func(*reading) T) []T {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.fail()
	}
	if r.err != nil || n == 0 {
		return nil
	}
	all := make([]T, 0, min(n, 1024))
	for range n {
		if all = append(all, element(r)); r.err != nil {
			return nil
		}
	}
	return all
}

func appendText[T ~string](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendList[T any](b []byte, all []T, element func([]byte, *T) []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		b = element(b, &all[i])
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
