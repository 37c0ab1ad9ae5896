package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
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

// walMark tells the beginning of a write-ahead log from every other: a salt that no other has, and SQLite's checksum of
// everything up to its end.
type walMark struct {
	bytes  int64
	salt   uint64
	s0, s1 uint32
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
	open := make(map[int]uint32) // pages of the transaction that is read
	err = eachFrame(path, func(at walMark, number, count uint32, page []byte) bool {
		open[int(number)-1] = crc32.Checksum(page, castagnoli)
		if count > 0 {
			if w.sums == nil {
				w.sums = open
				open = make(map[int]uint32, len(open))
			} else {
				maps.Copy(w.sums, open)
				clear(open)
			}
			w.mark, w.count = at, int(count)
		}
		return true
	})
	return w, err
}

// begins reports whether the write-ahead log of the file begins as marked.
func (m walMark) begins(path string) (yes bool, err error) {
	err = eachFrame(path, func(at walMark, _, _ uint32, _ []byte) bool {
		yes = at == m
		return at.salt == m.salt && at.bytes < m.bytes
	})
	return yes, err
}

// eachFrame shows the pages of a log that are whole, with the mark of the log up to and including each, as long as more
// are wanted. Count is how many pages the file has after a transaction that ends with the page, and else 0.
func eachFrame(path string, show func(at walMark, number, count uint32, page []byte) (more bool)) error {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // was only read
	in := bufio.NewReaderSize(f, 64*(frameHeader+pageBytes))
	head := make([]byte, walHeader)
	if _, err := io.ReadFull(in, head); err != nil {
		return ended(err)
	}
	magic := binary.BigEndian.Uint32(head)
	chain := walChain{swap: magic&1 != 0}
	chain.add(head[:24])
	if magic&^1 != walMagic || !chain.matches(head[24:]) {
		return nil
	}
	if size := binary.BigEndian.Uint32(head[8:]); size != pageBytes {
		return fmt.Errorf("the write-ahead log of %s has pages of %d bytes instead of %d", path, size, pageBytes)
	}
	salt := binary.BigEndian.Uint64(head[16:])
	for read := int64(walHeader); ; {
		frame, err := in.Peek(frameHeader + pageBytes)
		if err != nil {
			return ended(err)
		}
		chain.add(frame[:8])
		chain.add(frame[frameHeader:])
		number, count := binary.BigEndian.Uint32(frame), binary.BigEndian.Uint32(frame[4:])
		if number == 0 || binary.BigEndian.Uint64(frame[8:]) != salt || !chain.matches(frame[16:]) {
			return nil
		}
		read += int64(len(frame))
		if !show(walMark{bytes: read, salt: salt, s0: chain.s0, s1: chain.s1}, number, count, frame[frameHeader:]) {
			return nil
		}
		if _, err := in.Discard(len(frame)); err != nil {
			return ended(err)
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

// syncLog makes the write-ahead log beside a database durable; none is fine.
func syncLog(path string) error {
	f, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the log of %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing the log of %s: %w", path, err)
	}
	return nil
}
