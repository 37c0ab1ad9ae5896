package fold

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// All messages have the same shell. Numbers are big-endian.
//
//	offset  bytes
//	     0      3  what it is: "ctf" a frame, "ctc" a command, "cts" a checkpoint
//	     3      1  version: 1
//	     4         content
//	    -4      4  CRC-32C of all before it

const (
	version    = 1
	magicBytes = 4
	crcBytes   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DamageError says that bytes are not what was written: cut, changed, or not of this project at all.
type DamageError struct{ Reason string }

// Error tells what is wrong with the bytes.
func (e *DamageError) Error() string { return e.Reason }

// NewerError says that a message was written by a newer version of the program: upgrade this one.
type NewerError struct{ Version byte }

// Error names the version and the way out.
func (e *NewerError) Error() string {
	return fmt.Sprintf("it has version %d and this program reads up to %d: upgrade this program", e.Version, version)
}

func damaged(format string, args ...any) error { return &DamageError{fmt.Sprintf(format, args...)} }

// begin appends the beginning of a message, seal what ends it; from is where the message begins.
func begin(dst []byte, magic string) []byte { return append(append(dst, magic...), version) }

func seal(dst []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// open checks the shell of a message and returns its content.
func open(b []byte, magic, what string) (input, error) {
	switch {
	case len(b) < magicBytes || string(b[:3]) != magic:
		return input{}, damaged("it is not a %s of this project: something else writes to the topic", what)
	case b[3] > version:
		return input{}, &NewerError{b[3]}
	case b[3] == 0:
		return input{}, damaged("it has version 0")
	case len(b) < magicBytes+crcBytes:
		return input{}, damaged("a %s of %d bytes is cut", what, len(b))
	}
	end := len(b) - crcBytes
	if sum, want := crc32.Checksum(b[:end], castagnoli), binary.BigEndian.Uint32(b[end:]); sum != want && !mutant.On(mutant.FrameChecksumIgnored) {
		return input{}, damaged("its checksum is %08x instead of %08x", sum, want)
	}
	return input{b: b[magicBytes:end]}, nil
}

// input reads the content of a message; after its end everything is zero and short is set.
type input struct {
	b     []byte
	short bool
}

func (in *input) bytes(n int) []byte {
	if n < 0 || n > len(in.b) {
		in.short, in.b = true, nil
		return nil
	}
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}

func (in *input) u8() uint8 {
	if b := in.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (in *input) u16() uint16 {
	if b := in.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (in *input) u32() uint32 {
	if b := in.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (in *input) u64() uint64 {
	if b := in.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (in *input) position() Position { return Position{in.u64(), in.u64(), in.u32()} }

func appendPosition(dst []byte, p Position) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.Segment)
	dst = binary.BigEndian.AppendUint64(dst, p.Entry)
	return binary.BigEndian.AppendUint32(dst, p.Index)
}

// identity reads a name of a log as appendIdentity wrote it.
func (in *input) identity() Identity {
	log := Identity{Partitions: in.u16()}
	log.Cluster = string(in.bytes(int(in.u8())))
	return log
}

func appendIdentity(dst []byte, log Identity) []byte {
	dst = binary.BigEndian.AppendUint16(dst, log.Partitions)
	return append(append(dst, byte(len(log.Cluster))), log.Cluster...)
}

// counters reads what appendCounters wrote; they must rise by partition and count from 1.
func (in *input) counters() (counters, error) {
	n := int(in.u16())
	if n*10 > len(in.b) {
		return nil, damaged("%d counters are cut", n)
	}
	var list counters
	for range n {
		c := Counter{events.Partition(in.u16()), in.u64()}
		if len(list) > 0 && c.Partition <= list[len(list)-1].Partition || c.N == 0 {
			return nil, damaged("the counter of partition %d is out of order or 0", c.Partition)
		}
		list = append(list, c)
	}
	return list, nil
}

func appendCounters(dst []byte, list []Counter) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(list)))
	for _, c := range list {
		dst = binary.BigEndian.AppendUint16(dst, uint16(c.Partition))
		dst = binary.BigEndian.AppendUint64(dst, c.N)
	}
	return dst
}

// done reports whether the content was read exactly.
func (in *input) done(what string) error {
	switch {
	case in.short:
		return damaged("a %s is cut", what)
	case len(in.b) > 0:
		return damaged("%d bytes follow a %s", len(in.b), what)
	}
	return nil
}
