package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the database driver "sqlite", without CGO
)

// commonSchema holds what every service has: the answers it gave under an idempotency key, and its faults.
const commonSchema = `
CREATE TABLE IF NOT EXISTS answers (
	key         TEXT PRIMARY KEY,
	fingerprint BLOB    NOT NULL,
	status      INTEGER NOT NULL,
	body        BLOB    NOT NULL,
	repeats     INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (one INTEGER PRIMARY KEY CHECK (one = 1), settings TEXT NOT NULL);
`

// errKeyReused is the answer to a second, different request under a key that was used already.
var errKeyReused = errors.New("this Idempotency-Key came with a different request before: use a new key for a new request")

// store is the SQLite file of one service. Safe for concurrent use: its one connection makes transactions follow
// each other, so two requests with one key can never both do the work.
type store struct{ db *sql.DB }

// openStore opens or creates the file. A commit returns after fsync (synchronous=FULL).
func openStore(ctx context.Context, file, schema string) (*store, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, commonSchema+schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), db.Close())
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

// answer is what a request got, in the form in which it is stored.
type answer struct {
	status int
	body   []byte
}

// once does the work and stores its answer under key in one transaction; when the key has an answer already it
// gives that one and leaves the work. An empty key does the work every time, as such APIs do.
func (s *store) once(ctx context.Context, key string, request []byte, work func(*sql.Tx) (answer, error)) (_ answer, repeated bool, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return answer{}, false, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	fingerprint := sha256.Sum256(request)
	if key != "" {
		var first answer
		var stored []byte
		err := tx.QueryRowContext(ctx, `UPDATE answers SET repeats = repeats + 1 WHERE key = ? RETURNING fingerprint, status, body`, key).Scan(&stored, &first.status, &first.body)
		switch {
		case err == nil && !bytes.Equal(stored, fingerprint[:]):
			return answer{}, false, errKeyReused
		case err == nil:
			return first, true, tx.Commit()
		case !errors.Is(err, sql.ErrNoRows):
			return answer{}, false, err
		}
	}
	a, err := work(tx)
	if err != nil {
		return answer{}, false, err
	}
	if key != "" {
		if _, err := tx.ExecContext(ctx, `INSERT INTO answers (key, fingerprint, status, body) VALUES (?, ?, ?, ?)`,
			key, fingerprint[:], a.status, a.body); err != nil {
			return answer{}, false, err
		}
	}
	return a, false, tx.Commit()
}
