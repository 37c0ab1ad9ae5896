package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// SQLite does not notice a flipped bit in the middle of a value, so the file is kept together with a checksum of each of its
// pages, in <file>-sums.
//
// Pages change only by a checkpoint, which is made here and never by SQLite itself. Before one begins, the sums that the
// pages will have are written, with the mark of the write-ahead log that has these pages. As long as the log begins as
// marked, the checkpoint may be at any point: its pages are read from the log, whatever the file has, and are not judged.
// When it does not, the checkpoint has ended, and every page must have its sum. So a crash at any moment costs nothing,
// and the sums are written once a checkpoint. What is left in a log after a crash is a state that the model once had:
// frames have checksums.
const sumsSuffix = "-sums"

const sumsMagic = "continuo sums 2\n"

const (
	pageBytes = 4096
	markBytes = 24
)

// checkpointBytes is the size of the write-ahead log that brings a checkpoint.
const checkpointBytes = 16 << 20

// verifyChunk is how many pages are read at a time while verifying.
const verifyChunk = 1024

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are the checksums of the pages of a file, after the checkpoint that may be under way.
type sums struct {
	pages  []uint32         // CRC-32C of each, page 1 first
	log    walMark          // of the log that the checkpoint moves
	moving map[int]struct{} // pages that it moves, counted from 0; none when it has ended
}

// encode writes the magic, the mark, numbers and sums of the pages, the moving pages, and the CRC-32C of all that.
func (s sums) encode() []byte {
	b := make([]byte, 0, len(sumsMagic)+markBytes+8+4*len(s.pages)+4*len(s.moving)+4)
	b = append(b, sumsMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.log.bytes))
	b = binary.BigEndian.AppendUint64(b, s.log.salt)
	b = binary.BigEndian.AppendUint32(b, s.log.s0)
	b = binary.BigEndian.AppendUint32(b, s.log.s1)
	b = binary.BigEndian.AppendUint64(b, uint64(len(s.pages)))
	for _, sum := range s.pages {
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	for _, n := range slices.Sorted(maps.Keys(s.moving)) {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeSums(b []byte) (s sums, ok bool) {
	const head = len(sumsMagic) + markBytes + 8
	end := len(b) - 4
	if end < head || end%4 != 0 || string(b[:len(sumsMagic)]) != sumsMagic || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return s, false
	}
	mark := b[len(sumsMagic):]
	s.log = walMark{
		bytes: int64(binary.BigEndian.Uint64(mark)), salt: binary.BigEndian.Uint64(mark[8:]),
		s0: binary.BigEndian.Uint32(mark[16:]), s1: binary.BigEndian.Uint32(mark[20:]),
	}
	count := binary.BigEndian.Uint64(b[head-8:])
	if count > uint64(end-head)/4 {
		return s, false
	}
	b = b[head:end]
	s.pages, s.moving = make([]uint32, count), make(map[int]struct{})
	for n := range s.pages {
		s.pages[n] = binary.BigEndian.Uint32(b[4*n:])
	}
	for b = b[4*count:]; len(b) > 0; b = b[4:] {
		s.moving[int(binary.BigEndian.Uint32(b))] = struct{}{}
	}
	return s, true
}

func damagedFile(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", readmodel.ErrDamaged, path, fmt.Sprintf(format, args...))
}

// readSums reads the sums of a file. A file that is not there, or was only just begun, has none, and fresh is true.
func readSums(path string) (s sums, fresh bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return s, true, nil
	}
	switch {
	case err != nil:
		return s, false, err
	case !info.Mode().IsRegular():
		return s, false, fmt.Errorf("%s is not a file", path)
	}
	b, err := os.ReadFile(path + sumsSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, damagedFile(path, "it has no page sums: it is of another program or version, or was never written in full")
	}
	if err != nil {
		return s, false, err
	}
	s, ok := decodeSums(b)
	if !ok {
		return s, false, damagedFile(path+sumsSuffix, "it cannot be read: it is damaged or of another version")
	}
	under, err := s.log.begins(path)
	if err != nil {
		return s, false, err
	}
	if under {
		return s, false, nil
	}
	s.moving = nil
	if want := int64(len(s.pages)) * pageBytes; info.Size() != want {
		return s, false, damagedFile(path, "it has %d bytes and should have %d", info.Size(), want)
	}
	return s, false, nil
}

// verify compares some pages from a number (counted from 0) on, and returns the number of the page that comes next.
func (s sums) verify(path string, from int) (next int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return from, err
	}
	defer func() { _ = f.Close() }() // was only read
	buffer := make([]byte, min(verifyChunk, len(s.pages)-from)*pageBytes)
	read, err := f.ReadAt(buffer, int64(from)*pageBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return from, err
	}
	next = from + len(buffer)/pageBytes
	for n := from; n < next; n++ {
		if _, moves := s.moving[n]; moves {
			continue
		}
		at := (n - from) * pageBytes
		if at+pageBytes > read {
			return from, damagedFile(path, "it ends before page %d of %d does", n+1, len(s.pages))
		}
		if crc32.Checksum(buffer[at:at+pageBytes], castagnoli) != s.pages[n] {
			return from, damagedFile(path, "page %d of %d does not fit its sum", n+1, len(s.pages))
		}
	}
	return next, nil
}

// Check says what is wrong with the file of a model that is not open; nil if it is whole, or not there. It writes nothing.
func Check(path string) error {
	s, fresh, err := readSums(path)
	if err != nil || fresh {
		return err
	}
	for next := 0; err == nil && next < len(s.pages); {
		next, err = s.verify(path, next)
	}
	return err
}

// moved returns the sums after a checkpoint of the log. An earlier checkpoint that did not end may have moved any of its
// pages; they have their sums already, or are in this log again.
func (s sums) moved(w walPages) sums {
	next := sums{pages: make([]uint32, w.count), log: w.mark, moving: make(map[int]struct{}, len(w.sums))}
	for n := copy(next.pages, s.pages); n < w.count; n++ {
		next.pages[n] = emptyPage // pages that were freed before they were ever written are in no log
		next.moving[n] = struct{}{}
	}
	for n, sum := range w.sums {
		if n < w.count {
			next.pages[n] = sum
			next.moving[n] = struct{}{}
		}
	}
	return next
}

// emptyPage is the sum of a page of zeros.
var emptyPage = crc32.Checksum(make([]byte, pageBytes), castagnoli)

// save makes the sums durable, whole or not at all.
func (s sums) save(path string) error {
	temp := path + sumsSuffix + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.encode())
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path+sumsSuffix); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
