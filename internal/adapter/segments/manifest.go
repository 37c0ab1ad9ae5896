package segments

import (
	"cmp"
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
	claim     uint64 // under which it was written; 0 where nobody claims
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

// manifestName is the name of a version's manifest. Two writers never have the same one: each commits a record before its first
// manifest, or has a claim of its own.
func manifestName(p events.Partition, v *version, writer string) string {
	if v.claim == 0 {
		return fmt.Sprintf("%s%020d-%s", manifestPrefix(p), v.next, writer)
	}
	return fmt.Sprintf("%s%020d.%020d-%s", manifestPrefix(p), v.claim, v.next, writer)
}

func segmentName(p events.Partition, writer string, n uint64) string {
	return fmt.Sprintf("%s%s-%d", segmentPrefix(p), writer, n)
}

// manifestOrder is what the name of a manifest says of whose manifest counts: the greatest claim, of that the greatest
// position.
type manifestOrder struct {
	claim uint64
	next  events.Seq
	name  string
}

func (m manifestOrder) compare(other manifestOrder) int {
	return cmp.Or(cmp.Compare(m.claim, other.claim), cmp.Compare(m.next, other.next), cmp.Compare(m.name, other.name))
}

// orderOf reads the name of a manifest.
func orderOf(p events.Partition, name string) (m manifestOrder, err error) {
	m.name = name
	digits, _, _ := strings.Cut(strings.TrimPrefix(name, manifestPrefix(p)), "-")
	claim, next, claimed := strings.Cut(digits, ".")
	if !claimed {
		claim, next = fmt.Sprintf("%020d", 0), digits
	}
	var err1, err2 error
	m.claim, err1 = strconv.ParseUint(claim, 10, 64)
	n, err2 := strconv.ParseUint(next, 10, 64)
	if m.next = events.Seq(n); errors.Join(err1, err2) != nil || len(claim) != 20 || len(next) != 20 {
		return m, fmt.Errorf("object %s is not of this store: two programs must not share a store of objects", name)
	}
	return m, nil
}

// manifests returns the manifests of a partition; the last one counts.
func (s *Store) manifests(ctx context.Context, p events.Partition) ([]manifestOrder, error) {
	names, err := s.options.Objects.List(ctx, manifestPrefix(p))
	if err != nil {
		return nil, fmt.Errorf("the manifests of partition %d: %w", p, err)
	}
	all := make([]manifestOrder, len(names))
	for i, name := range names {
		if all[i], err = orderOf(p, name); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, manifestOrder.compare)
	return all, nil
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

// newest reads the newest manifest of a partition, an empty version if there is none, and returns all of them.
func (s *Store) newest(ctx context.Context, p events.Partition) (v *version, all []manifestOrder, err error) {
	for range lookTries {
		if all, err = s.manifests(ctx, p); err != nil {
			return nil, nil, err
		}
		if v, err = s.newestOf(ctx, p, all); !errors.Is(err, objectstore.ErrNotFound) {
			break // else newer ones have taken its place
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("partition %d has no manifest that can be read: %w", p, err)
	}
	return v, all, nil
}

// newestOf reads the last of some manifests. A damaged one is passed over for the one before it, from which more of the log is
// folded.
func (s *Store) newestOf(ctx context.Context, p events.Partition, all []manifestOrder) (v *version, err error) {
	v = &version{}
	for _, m := range slices.Backward(all) {
		if v, err = s.manifest(ctx, p, m); !errors.Is(err, journal.ErrDamaged) {
			break
		}
		s.options.Logger.Error("a manifest is damaged; the one before it is used", slog.String("manifest", m.name), slog.String("error", err.Error()))
	}
	return v, err
}

func (s *Store) manifest(ctx context.Context, p events.Partition, m manifestOrder) (*version, error) {
	b, err := s.options.Objects.Get(ctx, m.name)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", m.name, err)
	}
	v, err := decodeManifest(p, b)
	if err == nil && v.next != m.next {
		err = fmt.Errorf("%w: it is of %d", journal.ErrDamaged, v.next)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", m.name, err)
	}
	v.name, v.claim = m.name, m.claim
	return v, nil
}
