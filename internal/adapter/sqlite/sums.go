package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// SQLite does not notice a flipped bit in the middle of a value, so the file is kept together with a checksum of each of its
// pages: <file>-sums has the magic, the CRC-32C of every page, and the CRC-32C of all that.
//
// Pages change only by a checkpoint, which is made here and never by SQLite itself. It takes the sums away, moves the whole
// write-ahead log into the file, and writes new sums. So a file without sums is one whose checkpoint did not end, and the
// write-ahead log, whose frames have checksums, is never part of the file already: what is left of it after a crash is a
// state that the model once had.
const sumsSuffix = "-sums"

const sumsMagic = "continuo sums 1\n"

const pageBytes = 4096

// checkpointBytes is the size of the write-ahead log that brings a checkpoint.
const checkpointBytes = 8 << 20

// verifyChunk is how many pages are read at a time while verifying.
const verifyChunk = 1024

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are the checksums of the pages of a file, page 1 first.
type sums []uint32

func (s sums) encode() []byte {
	b := append(make([]byte, 0, len(sumsMagic)+4*len(s)+4), sumsMagic...)
	for _, sum := range s {
		b = binary.BigEndian.AppendUint32(b, sum)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func damagedFile(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", readmodel.ErrDamaged, path, fmt.Sprintf(format, args...))
}

// readSums reads the sums of a file. A file that is not there, or empty, has none, and fresh is true.
func readSums(path string) (s sums, fresh bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, true, nil
	}
	switch {
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a file", path)
	}
	b, err := os.ReadFile(path + sumsSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, damagedFile(path, "it has no page sums: it is of another program or version, or writing it was interrupted")
	}
	if err != nil {
		return nil, false, err
	}
	end := len(b) - 4
	if end < len(sumsMagic) || string(b[:len(sumsMagic)]) != sumsMagic || end%4 != 0 ||
		crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, false, damagedFile(path+sumsSuffix, "it cannot be read")
	}
	for at := len(sumsMagic); at < end; at += 4 {
		s = append(s, binary.BigEndian.Uint32(b[at:]))
	}
	if want := int64(len(s)) * pageBytes; info.Size() != want {
		return nil, false, damagedFile(path, "it has %d bytes and should have %d", info.Size(), want)
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
	pages := min(verifyChunk, len(s)-from)
	buffer := make([]byte, pages*pageBytes)
	if _, err := f.ReadAt(buffer, int64(from)*pageBytes); errors.Is(err, io.EOF) {
		return from, damagedFile(path, "it ends before page %d of %d does", from+pages, len(s))
	} else if err != nil {
		return from, err
	}
	for n := range pages {
		if crc32.Checksum(buffer[n*pageBytes:(n+1)*pageBytes], castagnoli) != s[from+n] {
			return from, damagedFile(path, "page %d of %d does not fit its sum", from+n+1, len(s))
		}
	}
	return from + pages, nil
}

// Check says what is wrong with the file of a model that is not open; nil if it is whole, or not there. It writes nothing.
func Check(path string) error {
	s, fresh, err := readSums(path)
	if err != nil || fresh {
		return err
	}
	for next := 0; err == nil && next < len(s); {
		next, err = s.verify(path, next)
	}
	return err
}

// walPages lists the pages in the write-ahead log (counted from 0), those of transactions that did not commit included.
func walPages(path string) (pages []int, err error) {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const header, frame = 32, 24
	var number [4]byte
	for at := int64(header); at+frame+pageBytes <= info.Size(); at += frame + pageBytes {
		if _, err := f.ReadAt(number[:], at); err != nil {
			return nil, err
		}
		if n := binary.BigEndian.Uint32(number[:]); n > 0 {
			pages = append(pages, int(n)-1)
		}
	}
	return pages, nil
}

// after returns the sums after a checkpoint that has written the given pages.
func (s sums) after(path string, pages []int) (sums, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	count := int(info.Size() / pageBytes)
	for n := len(s); n < count; n++ {
		pages = append(pages, n) // pages that were freed before they were ever written are in no log
	}
	next := append(make(sums, 0, count), s[:min(len(s), count)]...)
	next = next[:count]
	page := make([]byte, pageBytes)
	for _, n := range pages {
		if n >= count {
			continue
		}
		if _, err := f.ReadAt(page, int64(n)*pageBytes); err != nil {
			return nil, err
		}
		next[n] = crc32.Checksum(page, castagnoli)
	}
	return next, nil
}

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
