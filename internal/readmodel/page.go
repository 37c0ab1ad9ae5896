package readmodel

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// The sizes of a page.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Cursor is a place in a list: behind the run with this start and id. The zero cursor is the beginning.
type Cursor struct {
	Started events.Time
	RunID   events.RunID
}

// CursorOf returns the place behind a run.
func CursorOf(r row.Run) Cursor { return Cursor{Started: r.Started, RunID: r.RunID} }

// Resolve checks a page and returns its size and where it begins. An error wraps [ErrBadPage].
func (p Page) Resolve(f Filter) (limit int, after Cursor, err error) {
	limit = p.Limit
	switch {
	case limit == 0:
		limit = DefaultPage
	case limit < 0 || limit > MaxPage:
		return 0, Cursor{}, fmt.Errorf("%w: its limit is %d; 1 to %d are allowed", ErrBadPage, p.Limit, MaxPage)
	}
	if p.Token == "" {
		return limit, Cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err != nil || len(b) != tokenBytes || b[0] != tokenVersion {
		return 0, Cursor{}, fmt.Errorf("%w: it is not a token of this version", ErrBadPage)
	}
	if [8]byte(b[1:9]) != f.fingerprint() {
		return 0, Cursor{}, fmt.Errorf("%w: it belongs to another filter; begin again without a token", ErrBadPage)
	}
	after.Started = events.Time(binary.BigEndian.Uint64(b[9:17]))
	copy(after.RunID[:], b[17:])
	return limit, after, nil
}

const (
	tokenVersion = 1
	tokenBytes   = 1 + 8 + 8 + 16
)

// Token returns the token of the page of the filter's list that begins at the cursor.
func (c Cursor) Token(f Filter) string {
	of := f.fingerprint()
	b := append(make([]byte, 0, tokenBytes), tokenVersion)
	b = append(b, of[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Started))
	return base64.RawURLEncoding.EncodeToString(append(b, c.RunID[:]...))
}

// fingerprint tells filters apart.
func (f Filter) fingerprint() [8]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %q %q %d %d %t",
		f.Namespace, f.Type, f.Statuses, f.WorkflowID, f.WorkflowIDPrefix, f.StartedFrom, f.StartedTo, f.Quarantined))
	return [8]byte(sum[:8])
}
