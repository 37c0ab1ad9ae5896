package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// The file SYNCED says how far each partition was durable when its records were acknowledged: one slot for each.
//
//	seq 8, epoch 8, CRC-32C of both and the partition's number 4, zeros 12
//
// Pebble cannot tell a write-ahead log whose last batch rotted from one whose last write was torn by a crash, and drops the
// end of both. A torn write was never acknowledged and is not in this file; what it does have and the log does not is lost.
//
// The file is written after each sync and before the acknowledgement, without a sync of its own: it survives the end of the
// process in the page cache of the kernel, and is about a second old after a power cut under load.
const fileSynced = "SYNCED"

// slotBytes divides a sector of a disk, so that no slot is ever torn.
const slotBytes = 32

// writeBackEvery is how often the kernel is asked to write the file to the disk while it changes.
const writeBackEvery = time.Second

// reached is where a partition has come.
type reached struct {
	seq   events.Seq
	epoch uint64
}

func appendSlot(dst []byte, p events.Partition, r reached) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.seq))
	dst = binary.BigEndian.AppendUint64(dst, r.epoch)
	dst = binary.BigEndian.AppendUint32(dst, slotSum(dst[len(dst)-16:], p))
	return append(dst, make([]byte, slotBytes-20)...)
}

func slotSum(numbers []byte, p events.Partition) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(numbers, table), table, binary.BigEndian.AppendUint16(nil, uint16(p)))
}

// decodeSynced reads the file's content; ok is false if no version wrote it for so many partitions.
func decodeSynced(b []byte, partitions int) (marks []reached, ok bool) {
	if len(b) != partitions*slotBytes {
		return nil, false
	}
	for n := range partitions {
		slot := b[n*slotBytes : (n+1)*slotBytes]
		r := reached{events.Seq(binary.BigEndian.Uint64(slot)), binary.BigEndian.Uint64(slot[8:])}
		if string(appendSlot(nil, events.Partition(n), r)) != string(slot) {
			return nil, false
		}
		marks = append(marks, r)
	}
	return marks, true
}

// readSynced reads the file; nil if there is none.
func readSynced(dir string, partitions int) ([]reached, error) {
	path := filepath.Join(dir, fileSynced)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	marks, ok := decodeSynced(b, partitions)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot be read, so it is not known whether the log ends too early; run 'continuo store check', "+
			"and if that finds nothing else, delete the file", ErrDamaged, path)
	}
	return marks, nil
}

// endLost says that a log ends before what was acknowledged.
func endLost(p events.Partition, found, mark reached) string {
	if found.seq < mark.seq {
		return fmt.Sprintf("the log of partition %d ends at record %d and record %d was acknowledged: its end is lost", p, found.seq, mark.seq)
	}
	return fmt.Sprintf("the log of partition %d is of epoch %d and epoch %d was begun: its end is lost", p, found.epoch, mark.epoch)
}

// watermark keeps the file SYNCED. Only the committer uses it while the store is open.
type watermark struct {
	file    *os.File
	image   []byte // of the file
	written time.Duration
}

// openWatermark compares the ends of the logs with the file, and makes it anew if there is none.
func (s *Store) openWatermark() error {
	marks, err := readSynced(s.dir, len(s.parts))
	if err != nil {
		return err
	}
	w := &s.synced
	for n, p := range s.parts {
		found := reached{p.last, p.epoch}
		if marks != nil && (found.seq < marks[n].seq || found.epoch < marks[n].epoch) {
			return fmt.Errorf("%w: %s: %s; restore a copy, or delete %s to go on with what is left", ErrDamaged, s.dir, endLost(p.id, found, marks[n]),
				filepath.Join(s.dir, fileSynced))
		}
		w.image = appendSlot(w.image, p.id, found)
	}
	if marks == nil {
		if err := writeFile(s.dir, fileSynced, w.image); err != nil {
			return fmt.Errorf("making the file %s: %w", fileSynced, err)
		}
	}
	if w.file, err = os.OpenFile(filepath.Join(s.dir, fileSynced), os.O_WRONLY, 0); err != nil {
		return fmt.Errorf("opening the file %s: %w", fileSynced, err)
	}
	w.written = s.options.Clock.Boot()
	return nil
}

// raise writes down how far the partitions of a durable group are, before anything of it is acknowledged.
func (s *Store) raise(group []*request) error {
	w := &s.synced
	from, to := len(w.image), 0
	for _, r := range group {
		if r.err != nil || r.batch == nil {
			continue
		}
		p := r.owner.part
		at := int(p.id) * slotBytes
		appendSlot(w.image[:at], p.id, reached{p.written, p.epoch})
		from, to = min(from, at), max(to, at+slotBytes)
	}
	if from >= to {
		return nil
	}
	if _, err := w.file.WriteAt(w.image[from:to], int64(from)); err != nil {
		return fmt.Errorf("writing how far the log is: %w", err)
	}
	if now := s.options.Clock.Boot(); now-w.written >= writeBackEvery {
		w.written = now
		writeBack(w.file)
	}
	return nil
}
