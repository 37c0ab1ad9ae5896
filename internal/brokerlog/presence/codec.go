package presence

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/continuo-dev/continuo/pkg/events"
)

// version is the first byte of an announcement. Announcements live for seconds: a process skips those it cannot read.
const version = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the encoded announcement to dst.
//
//	content  bytes
//	      0      1  version
//	      1      4  checksum (CRC-32C) of what follows
//	      5      8  process
//	     13      8  n
//	     21      8  beat
//	     29      8  at
//	     37      1  flags: 1 leaving, 2 aside
//	     38    1+n  role: length, text
//	      …    1+n  name
//	      …   2+2n  works
func Append(dst []byte, a *Announcement) []byte {
	start := len(dst)
	dst = append(dst, version, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.Process))
	dst = binary.BigEndian.AppendUint64(dst, a.N)
	dst = binary.BigEndian.AppendUint64(dst, a.Beat)
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.At))
	flags := byte(0)
	if a.Leaving {
		flags = 1
	}
	if a.Aside {
		flags |= 2
	}
	dst = append(dst, flags)
	for _, text := range []struct {
		s    string
		most int
	}{{a.Role, MaxRoleBytes}, {a.Name, MaxNameBytes}} {
		s := text.s[:min(len(text.s), text.most)]
		dst = append(append(dst, byte(len(s))), s...)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Works)))
	for _, p := range a.Works {
		dst = binary.BigEndian.AppendUint16(dst, uint16(p))
	}
	binary.BigEndian.PutUint32(dst[start+1:], crc32.Checksum(dst[start+5:], castagnoli))
	return dst
}

// Decode reads an announcement; nothing of it aliases b.
func Decode(b []byte) (Announcement, error) {
	if len(b) < 5 || b[0] != version {
		return Announcement{}, fmt.Errorf("%d bytes are not an announcement of version %d", len(b), version)
	}
	if crc32.Checksum(b[5:], castagnoli) != binary.BigEndian.Uint32(b[1:]) {
		return Announcement{}, fmt.Errorf("an announcement of %d bytes does not fit its checksum", len(b))
	}
	short := func() (Announcement, error) {
		return Announcement{}, fmt.Errorf("an announcement of %d bytes is cut", len(b))
	}
	rest := b[5:]
	if len(rest) < 33 {
		return short()
	}
	a := Announcement{
		Process: Process(binary.BigEndian.Uint64(rest)), N: binary.BigEndian.Uint64(rest[8:]), Beat: binary.BigEndian.Uint64(rest[16:]),
		At: events.Time(binary.BigEndian.Uint64(rest[24:])), Leaving: rest[32]&1 != 0, Aside: rest[32]&2 != 0,
	}
	rest = rest[33:]
	for _, text := range []*string{&a.Role, &a.Name} {
		if len(rest) < 1 || len(rest)-1 < int(rest[0]) {
			return short()
		}
		*text, rest = string(rest[1:1+rest[0]]), rest[1+int(rest[0]):]
	}
	if len(rest) < 2 {
		return short()
	}
	n := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; len(rest) != 2*n {
		return short()
	}
	for i := range n {
		a.Works = append(a.Works, events.Partition(binary.BigEndian.Uint16(rest[2*i:])))
	}
	return a, nil
}
