package sqlite

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/bits"
	"os"
)

// Sizes in a write-ahead log of SQLite (https://sqlite.org/fileformat2.html#walformat): a header, then frames of a header
// and a page each.
const (
	walHeader   = 32
	frameHeader = 24
	walMagic    = 0x377f0682 // its lowest bit says in which order bytes are summed
)

// walMark tells the beginning of a write-ahead log from every other.
type walMark struct {
	bytes int64
	crc   uint32 // CRC-32C of these bytes, which begin with a salt that no other log has
}

// walPages are the pages that a write-ahead log will move into the file.
type walPages struct {
	mark  walMark        // of everything that is committed; no bytes when nothing is
	sums  map[int]uint32 // by number of the page (counted from 0): the sum of its last content
	count int            // of pages the file will have
}

// readWAL reads the transactions that are committed. What comes after them, as of a transaction that was undone, is left
// out just as SQLite leaves it out: its checksums do not continue those before.
func readWAL(path string) (w walPages, err error) {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	defer func() { _ = f.Close() }() // was only read
	in := bufio.NewReaderSize(f, 64*(frameHeader+pageBytes))
	head := make([]byte, walHeader)
	if _, err := io.ReadFull(in, head); err != nil {
		return w, ended(err)
	}
	magic := binary.BigEndian.Uint32(head)
	chain := walChain{swap: magic&1 != 0}
	chain.add(head[:24])
	if magic&^1 != walMagic || !chain.matches(head[24:]) {
		return w, nil
	}
	if size := binary.BigEndian.Uint32(head[8:]); size != pageBytes {
		return w, fmt.Errorf("the write-ahead log of %s has pages of %d bytes instead of %d", path, size, pageBytes)
	}
	w.sums = make(map[int]uint32)
	read, crc := int64(walHeader), crc32.Checksum(head, castagnoli)
	open := make(map[int]uint32) // pages of the transaction that is read
	frame := make([]byte, frameHeader+pageBytes)
	for {
		if _, err := io.ReadFull(in, frame); err != nil {
			return w, ended(err)
		}
		chain.add(frame[:8])
		chain.add(frame[frameHeader:])
		number, count := binary.BigEndian.Uint32(frame), binary.BigEndian.Uint32(frame[4:])
		if number == 0 || !bytes.Equal(frame[8:16], head[16:24]) || !chain.matches(frame[16:]) {
			return w, nil
		}
		read, crc = read+int64(len(frame)), crc32.Update(crc, castagnoli, frame)
		open[int(number)-1] = crc32.Checksum(frame[frameHeader:], castagnoli)
		if count > 0 {
			for n, sum := range open {
				w.sums[n] = sum
			}
			clear(open)
			w.mark, w.count = walMark{bytes: read, crc: crc}, int(count)
		}
	}
}

// ended is no error where a file ends.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// walChain is SQLite's checksum over everything in a log so far.
type walChain struct {
	swap   bool
	s0, s1 uint32
}

func (c *walChain) add(b []byte) {
	s0, s1 := c.s0, c.s1
	if c.swap {
		for ; len(b) >= 8; b = b[8:] {
			s0 += bits.ReverseBytes32(binary.LittleEndian.Uint32(b)) + s1
			s1 += bits.ReverseBytes32(binary.LittleEndian.Uint32(b[4:])) + s0
		}
	} else {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
		}
	}
	c.s0, c.s1 = s0, s1
}

func (c *walChain) matches(b []byte) bool {
	return c.s0 == binary.BigEndian.Uint32(b) && c.s1 == binary.BigEndian.Uint32(b[4:])
}

// begins reports whether the write-ahead log of the file begins as marked.
func (m walMark) begins(path string) (bool, error) {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // was only read
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.LimitReader(f, m.bytes))
	if err != nil {
		return false, err
	}
	return n == m.bytes && sum.Sum32() == m.crc, nil
}
