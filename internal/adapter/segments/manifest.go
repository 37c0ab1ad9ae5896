package segments

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A manifest is
//
//	"continuo segments" version 1, partition 2, next 8, state, two tables, CRC-32C of what precedes 4
//
// with texts behind their lengths, tables and layers behind their counts (uvarint). A segment is its name without the
// prefix of the partition, its size, checksum, least and greatest key.
const (
	manifestMagic   = "continuo segments"
	manifestVersion = 1
)

// version is a partition as one manifest shows it. Its slices are never changed in place.
type version struct {
	name      string // of the manifest; "" when there is none
	next      events.Seq
	state     []byte
	rows      []layer // newest first
	histories []layer
}

// segments calls visit with all segments.
func (v *version) segments(visit func(*segment)) {
	for _, table := range [][]layer{v.rows, v.histories} {
		for _, l := range table {
			for i := range l {
				visit(&l[i])
			}
		}
	}
}

func manifestPrefix(p events.Partition) string { return fmt.Sprintf("rows/%d/manifest/", p) }

func segmentPrefix(p events.Partition) string { return fmt.Sprintf("rows/%d/segment/", p) }

// manifestName sorts by next. Two writers never have the same one: each commits a record before its first manifest.
func manifestName(p events.Partition, next events.Seq, writer string) string {
	return fmt.Sprintf("%s%020d-%s", manifestPrefix(p), next, writer)
}

func segmentName(p events.Partition, writer string, n uint64) string {
	return fmt.Sprintf("%s%s-%d", segmentPrefix(p), writer, n)
}

// nextOf reads the position in the name of a manifest.
func nextOf(p events.Partition, name string) (events.Seq, error) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(name, manifestPrefix(p)), "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || len(digits) != 20 {
		return 0, fmt.Errorf("object %s is not of this store: two programs must not share a store of objects", name)
	}
	return events.Seq(n), nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (v *version) encode(p events.Partition) []byte {
	b := append([]byte(manifestMagic), manifestVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(p))
	b = binary.BigEndian.AppendUint64(b, uint64(v.next))
	b = appendText(b, v.state)
	for _, table := range [][]layer{v.rows, v.histories} {
		b = binary.AppendUvarint(b, uint64(len(table)))
		for _, l := range table {
			b = binary.AppendUvarint(b, uint64(len(l)))
			for i := range l {
				b = appendText(b, strings.TrimPrefix(l[i].name, segmentPrefix(p)))
				b = binary.AppendUvarint(b, uint64(l[i].size))
				b = binary.BigEndian.AppendUint32(b, l[i].sum)
				b = appendText(b, l[i].first)
				b = appendText(b, l[i].last)
			}
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// errNewer says that a manifest was written by a newer build.
var errNewer = errors.New("it was written by a newer build: upgrade")

// decodeManifest reads a manifest of a partition.
func decodeManifest(p events.Partition, b []byte) (*version, error) {
	rest, ok := strings.CutPrefix(string(b), manifestMagic)
	switch {
	case !ok || len(rest) < 1+2+8+4:
		return nil, fmt.Errorf("%w: it does not begin like a manifest", journal.ErrDamaged)
	case rest[0] > manifestVersion:
		return nil, errNewer
	case crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]):
		return nil, fmt.Errorf("%w: its checksum is wrong", journal.ErrDamaged)
	}
	d := decoder{b: b[len(manifestMagic)+1 : len(b)-4]}
	if of := events.Partition(d.fixed(2)); of != p {
		return nil, fmt.Errorf("%w: it is of partition %d", journal.ErrDamaged, of)
	}
	v := &version{next: events.Seq(d.fixed(8))}
	if state := d.text(); state != "" {
		v.state = []byte(state)
	}
	for _, table := range []*[]layer{&v.rows, &v.histories} {
		for range d.count() {
			var l layer
			for range d.count() {
				l = append(l, segment{name: segmentPrefix(p) + d.text(), size: int64(d.uint()), sum: uint32(d.fixed(4)), first: d.text(), last: d.text()})
			}
			*table = append(*table, l)
		}
	}
	if d.short || len(d.b) > 0 {
		return nil, fmt.Errorf("%w: it ends too early or too late", journal.ErrDamaged)
	}
	return v, nil
}

// decoder reads values off b; short is set when b ends too early.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.short = nil, true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.short = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many things follow, of which each takes a byte at least.
func (d *decoder) count() uint64 {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.b, d.short = nil, true
		return 0
	}
	return n
}

func (d *decoder) fixed(n uint64) (v uint64) {
	for _, c := range d.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (d *decoder) text() string { return string(d.take(d.uint())) }

// lookTries is how often a manifest that was deleted between listing and reading is looked for again.
const lookTries = 10

// newest reads the newest manifest of a partition, an empty version if there is none, and returns the names of all.
func (s *Store) newest(ctx context.Context, p events.Partition) (v *version, names []string, err error) {
	for range lookTries {
		if names, err = s.options.Objects.List(ctx, manifestPrefix(p)); err != nil {
			return nil, nil, fmt.Errorf("the manifests of partition %d: %w", p, err)
		}
		if v, err = s.newestOf(ctx, p, names); !errors.Is(err, objectstore.ErrNotFound) {
			break // else newer ones have taken its place
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("partition %d has no manifest that can be read: %w", p, err)
	}
	return v, names, nil
}

// newestOf reads the last of some manifests. A damaged one is passed over for the one before it, from which more of the log is
// folded.
func (s *Store) newestOf(ctx context.Context, p events.Partition, names []string) (v *version, err error) {
	v = &version{}
	for _, name := range slices.Backward(names) {
		if v, err = s.manifest(ctx, p, name); !errors.Is(err, journal.ErrDamaged) {
			break
		}
		s.options.Logger.Error("a manifest is damaged; the one before it is used", slog.String("manifest", name), slog.String("error", err.Error()))
	}
	return v, err
}

func (s *Store) manifest(ctx context.Context, p events.Partition, name string) (*version, error) {
	next, err := nextOf(p, name)
	if err != nil {
		return nil, err
	}
	b, err := s.options.Objects.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	v, err := decodeManifest(p, b)
	if err == nil && v.next != next {
		err = fmt.Errorf("%w: it is of %d", journal.ErrDamaged, v.next)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	v.name = name
	return v, nil
}
