// Package sqlite keeps the read model in one SQLite file.
//
// Rows and positions are written in one transaction, so a batch is there once or not at all. The file is written without
// waiting for the disk (WAL, synchronous NORMAL): after a power cut it may be older, never mixed, and the projector goes on
// from the position it has. Its pages have checksums in a file beside it, which are compared when the model is opened. A
// file that is damaged, foreign or of another version is reported as [readmodel.ErrDamaged] by every method until Reset
// makes it anew.
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
	sums   sums        // of the file's pages
	newest events.Time // of what statistics have counted; the writer's
	due    int64       // the size of the write-ahead log that brings the next checkpoint
	closed bool

	verifying sync.WaitGroup // the search for damage in a large file
	enough    context.CancelFunc

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
	m := &Model{path: path, positions: map[events.Partition]readmodel.Position{}, moved: make(chan struct{}), enough: func() {}, due: checkpointBytes}
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
	const wal, normal, ours = "journal_mode(WAL)", "synchronous(NORMAL)", "wal_autocheckpoint(0)"
	fresh, err := m.verify(ctx)
	if err != nil {
		return err
	}
	const undo = "temp_store(MEMORY)" // what a statement may have to undo is not written to a file
	if m.writer, err = connect(m.path, 1, wal, normal, ours, undo, "cache_size(-8192)"); err != nil {
		return err
	}
	if m.reader, err = connect(m.path, readers, "query_only(1)", ours, "cache_size(-8192)"); err != nil {
		return err
	}
	if err := prepare(ctx, m.writer); err != nil {
		return err
	}
	if fresh {
		if err := m.checkpoint(ctx); err != nil {
			return err
		}
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

// verify begins with the sums of the file and looks for damage for a while; what is left then is looked at in the
// background. Fresh means that there is no file.
func (m *Model) verify(ctx context.Context) (fresh bool, err error) {
	if m.sums, fresh, err = readSums(m.path); err != nil {
		return false, err
	}
	if fresh {
		return true, remove(m.path) // what is left of one that was deleted
	}
	budget, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	next := 0
	for err == nil && budget.Err() == nil && next < len(m.sums.pages) {
		next, err = m.sums.verify(m.path, next)
	}
	if err != nil || next == len(m.sums.pages) {
		return false, err
	}
	ctx, m.enough = context.WithCancel(context.WithoutCancel(ctx))
	m.verifying.Go(func() { m.verifyRest(ctx, next) })
	return false, nil
}

// verifyRest looks for damage from a page on, some pages at a time.
func (m *Model) verifyRest(ctx context.Context, next int) {
	for left := true; left && ctx.Err() == nil; {
		m.mu.RLock()
		var err error
		if left = next < len(m.sums.pages); left {
			next, err = m.sums.verify(m.path, next)
		}
		m.mu.RUnlock()
		if err != nil {
			_ = m.failed(err) // everybody is told from now on
			return
		}
	}
}

// checkpoint moves the write-ahead log into the file. mu is held for writing, or nobody else knows the model yet. One that
// fails, or does not end because somebody outside reads the file, costs nothing but the length of the log: what it has
// moved is read from the log until a later one ends.
func (m *Model) checkpoint(ctx context.Context) error {
	if some, err := m.note(); err != nil || !some {
		return err
	}
	return m.moveLog(context.WithoutCancel(ctx))
}

// note writes down what a checkpoint will change. Some is false when it would change nothing.
func (m *Model) note() (some bool, err error) {
	wal, err := readWAL(m.path)
	if err != nil || wal.count == 0 {
		return false, err
	}
	// The sums name the log: after a power cut it must be there if they are.
	if err := syncLog(m.path); err != nil {
		return false, err
	}
	next := m.sums.moved(wal)
	if err := next.save(m.path); err != nil {
		return false, err
	}
	m.sums = next
	return true, nil
}

// moveLog moves what was noted and empties the log. It does not wait for readers outside this process: nobody here reads
// meanwhile.
func (m *Model) moveLog(ctx context.Context) error {
	if _, err := m.writer.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return m.failed(err)
	}
	busy, err := m.move(ctx, "TRUNCATE")
	if _, undo := m.writer.ExecContext(ctx, patience); err != nil || undo != nil {
		return m.failed(errors.Join(err, undo))
	}
	if busy {
		return errors.New("the read model is in use elsewhere")
	}
	m.sums.moving = nil
	return nil
}

// move makes a checkpoint of SQLite. Busy says that it did not end because of a reader.
func (m *Model) move(ctx context.Context, mode string) (busy bool, err error) {
	var frames, moved int
	err = m.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &moved)
	return busy, err
}

// checkpointIfDue keeps the write-ahead log short. What fails is tried again when the log has grown as much again.
func (m *Model) checkpointIfDue(ctx context.Context) {
	info, err := os.Stat(m.path + "-wal")
	if err != nil || info.Size() < m.due {
		return
	}
	m.due = checkpointBytes
	if m.checkpointBesideReaders(context.WithoutCancel(ctx)) != nil {
		m.due += info.Size()
	}
}

// checkpointBesideReaders moves the log while others read; they wait while that is written down and while the log is
// emptied.
func (m *Model) checkpointBesideReaders(ctx context.Context) error {
	if err := syncLog(m.path); err != nil { // beforehand, so that nobody waits while note does it
		return err
	}
	some := false
	for _, step := range []struct {
		lock, unlock func()
		do           func() error
	}{
		{m.mu.Lock, m.mu.Unlock, func() (err error) { some, err = m.note(); return err }},
		{m.mu.RLock, m.mu.RUnlock, func() error { _, err := m.move(ctx, "PASSIVE"); return m.failed(err) }},
		{m.mu.Lock, m.mu.Unlock, func() error { return m.moveLog(ctx) }},
	} {
		step.lock()
		err := errClosed
		if !m.closed && m.writer != nil {
			err = step.do()
		}
		step.unlock()
		if err != nil || !some {
			return err
		}
	}
	return nil
}

// Close closes the file. Calling it twice is harmless.
func (m *Model) Close() error {
	m.stopVerifying()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if m.writer != nil && m.usable() == nil {
		// When it fails SQLite moves the log as the file is closed, and the next start builds the model anew if the sums could
		// not be written, as on a full disk.
		_ = m.checkpoint(context.Background())
	}
	return m.disconnect()
}

func (m *Model) stopVerifying() {
	m.state.Lock()
	enough := m.enough
	m.state.Unlock()
	enough()
	m.verifying.Wait()
}

// usable says why the model is of no use.
func (m *Model) usable() error {
	m.state.Lock()
	defer m.state.Unlock()
	return m.broken
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
	m.stopVerifying()
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
	err = m.usable()
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

// damage makes errors of SQLite that mean a broken file wrap readmodel.ErrDamaged, and those of a disk that fails
// readmodel.ErrUnavailable.
func damage(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && !errors.Is(err, readmodel.ErrDamaged) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
			return fmt.Errorf("%w: %w", readmodel.ErrDamaged, err)
		case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY:
			return fmt.Errorf("%w: %w", readmodel.ErrUnavailable, err)
		}
	}
	return err
}
