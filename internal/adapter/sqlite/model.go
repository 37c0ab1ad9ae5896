// Package sqlite keeps the read model in one SQLite file.
//
// Rows and positions are written in one transaction, so a batch is there once or not at all. The file is written without
// waiting for the disk (WAL, synchronous NORMAL): after a power cut it may be older, never mixed, and the projector goes on
// from the position it has. A file that is damaged, foreign or of another version is reported as
// [readmodel.ErrDamaged] by every method until Reset makes it anew.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// readers is how many queries run at a time.
const readers = 4

// Model is a read model in a file. Its methods may be called from any goroutine, those of readmodel.Writer by one.
type Model struct {
	path string

	mu     sync.RWMutex // held for writing while the file is replaced or closed
	writer *sql.DB      // one connection
	reader *sql.DB
	stmts  statements
	closed bool

	state     sync.Mutex // guards the rest
	broken    error      // wraps ErrDamaged once damage was found
	positions map[events.Partition]readmodel.Position
	moved     chan struct{} // closed and replaced when positions move
}

var _ readmodel.Model = (*Model)(nil)

var errClosed = errors.New("the read model is closed")

// Open opens the model in the file, and makes it if it does not exist; its directory must. A file that cannot be used is
// not an error: see the package. The file must not be open in another process.
func Open(ctx context.Context, path string) (*Model, error) {
	m := &Model{path: path, positions: map[events.Partition]readmodel.Position{}, moved: make(chan struct{})}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	err := m.open(ctx)
	if errors.Is(err, readmodel.ErrDamaged) {
		m.broken = err
		return m, nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read model %s: %w", path, err), m.Close())
	}
	return m, nil
}

func (m *Model) open(ctx context.Context) (err error) {
	const wal, normal = "journal_mode(WAL)", "synchronous(NORMAL)"
	if m.writer, err = connect(m.path, 1, wal, normal, "cache_size(-32768)"); err != nil {
		return err
	}
	if m.reader, err = connect(m.path, readers, "query_only(1)", "cache_size(-8192)"); err != nil {
		return err
	}
	if err := prepare(ctx, m.writer); err != nil {
		return err
	}
	rows, err := m.writer.QueryContext(ctx, "SELECT partition, next, time FROM positions")
	if err != nil {
		return damagedSchema(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p readmodel.Position
		if err := rows.Scan(&p.Partition, &p.Next, &p.Time); err != nil {
			return damage(err)
		}
		m.positions[p.Partition] = p
	}
	if err := rows.Err(); err != nil {
		return damage(err)
	}
	return damagedSchema(m.stmts.prepare(ctx, m.writer))
}

// Close closes the file. Calling it twice is harmless.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return m.disconnect()
}

func (m *Model) disconnect() error {
	var failed []error
	m.stmts.close()
	for _, db := range []*sql.DB{m.reader, m.writer} {
		if db != nil {
			failed = append(failed, db.Close())
		}
	}
	m.reader, m.writer = nil, nil
	return errors.Join(failed...)
}

// Reset deletes the file and makes an empty one.
func (m *Model) Reset(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	_ = m.disconnect() // what is thrown away need not close well
	if err := remove(m.path); err != nil {
		return fmt.Errorf("drop the read model: %w", err)
	}
	m.state.Lock()
	m.broken = nil
	clear(m.positions)
	m.state.Unlock()
	if err := m.open(ctx); err != nil {
		return m.failed(fmt.Errorf("make a new read model %s: %w", m.path, err))
	}
	return nil
}

// use begins an operation; the returned function ends it.
func (m *Model) use() (end func(), err error) {
	m.mu.RLock()
	m.state.Lock()
	err = m.broken
	m.state.Unlock()
	if m.closed {
		err = errClosed
	}
	if err != nil {
		m.mu.RUnlock()
		return nil, err
	}
	return m.mu.RUnlock, nil
}

// failed notes damage, so that the projector hears of what a query found.
func (m *Model) failed(err error) error {
	if err = damage(err); errors.Is(err, readmodel.ErrDamaged) {
		m.state.Lock()
		m.broken = err
		m.state.Unlock()
	}
	return err
}

// damagedSchema is damage for the first statements after opening, which fit every schema of this version.
func damagedSchema(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_ERROR {
		return fmt.Errorf("%w: %w", readmodel.ErrDamaged, err)
	}
	return damage(err)
}

// damage makes errors of SQLite that mean a broken file wrap readmodel.ErrDamaged.
func damage(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && !errors.Is(err, readmodel.ErrDamaged) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
			return fmt.Errorf("%w: %w", readmodel.ErrDamaged, err)
		}
	}
	return err
}
