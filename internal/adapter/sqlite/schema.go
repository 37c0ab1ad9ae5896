package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// applicationID is in the header of our files ("Cont"), so that a foreign file is told apart.
const applicationID = 0x436f6e74

// schemaVersion is raised with every change of what is in the file or of the body's meaning; a trigger that does the same in
// another way is none. There are no migrations: a model of another version is built anew from the log.
const schemaVersion = 3

// checkBudget bounds the search for damage when a model is opened. The rest of a large file is searched while it is used.
const checkBudget = time.Second

// Columns are those that queries look for; the rest of a run is in its head, which lists read, and in its body. Nothing of a
// run is NOT NULL, because a statement that may fail keeps copies of the pages it changes, unless what it did is to stay (OR
// FAIL): the transaction is rolled back then. Keys of indexes end with what orders lists, and workflow ids come before
// namespaces because they tell runs apart sooner.
const schema = `
CREATE TABLE positions(partition INTEGER PRIMARY KEY, next INTEGER NOT NULL, time INTEGER NOT NULL);
CREATE TABLE runs(
	run BLOB PRIMARY KEY, ns TEXT, workflow TEXT, version INTEGER, type TEXT, status INTEGER, started INTEGER, quarantine TEXT, head BLOB, body BLOB
) WITHOUT ROWID;
CREATE INDEX runs_by_status ON runs(ns, status, type, started, run);
CREATE INDEX runs_by_type ON runs(ns, type, started, run);
CREATE INDEX runs_by_start ON runs(ns, started, run);
CREATE INDEX runs_by_workflow ON runs(workflow, ns, started, run);
CREATE INDEX runs_quarantined ON runs(ns, started, run) WHERE quarantine <> '';
CREATE TABLE views(
	run BLOB NOT NULL, name TEXT NOT NULL, place INTEGER NOT NULL, version INTEGER NOT NULL, updated INTEGER NOT NULL,
	value BLOB NOT NULL, PRIMARY KEY(run, name)
) WITHOUT ROWID;
CREATE TABLE counts(
	ns TEXT NOT NULL, type TEXT NOT NULL, status INTEGER NOT NULL, runs INTEGER NOT NULL, PRIMARY KEY(ns, type, status)
) WITHOUT ROWID;
CREATE TRIGGER runs_changed AFTER UPDATE OF type, status ON runs WHEN old.status <> new.status OR old.type <> new.type BEGIN
	UPDATE OR FAIL counts SET runs = runs - 1 WHERE ns = old.ns AND type = old.type AND status = old.status;
	INSERT OR IGNORE INTO counts VALUES(new.ns, new.type, new.status, 0);
	UPDATE OR FAIL counts SET runs = runs + 1 WHERE ns = new.ns AND type = new.type AND status = new.status;
END;
CREATE TRIGGER runs_removed AFTER DELETE ON runs BEGIN
	UPDATE counts SET runs = runs - 1 WHERE ns = old.ns AND type = old.type AND status = old.status;
END;
`

// patience is how long a statement waits for a lock that another process holds on the file, in ms. The projector tries again
// then, and says why the model stands still.
const patience = "PRAGMA busy_timeout = 1000"

// connect opens one pool of connections.
func connect(path string, connections int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{}
	q.Add("_pragma", strings.TrimPrefix(patience, "PRAGMA "))
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	q.Set("_txlock", "deferred")
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// prepare makes the schema in an empty file and checks one that has it. An error that wraps readmodel.ErrDamaged means
// that the file is of no use.
func prepare(ctx context.Context, db *sql.DB) error {
	var id, version, tables int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return damage(err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return damage(err)
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return damage(err)
	}
	switch {
	case id == 0 && version == 0 && tables == 0:
		return create(ctx, db)
	case id != applicationID:
		return fmt.Errorf("%w: the file is a database of another program", readmodel.ErrDamaged)
	case version != schemaVersion:
		return fmt.Errorf("%w: it has version %d, this build reads %d", readmodel.ErrDamaged, version, schemaVersion)
	}
	return nil
}

func create(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA application_id=%d; PRAGMA user_version=%d", schema+statsSchema, applicationID, schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// remove deletes the files of a model.
func remove(path string) error {
	var failed []error
	for _, suffix := range []string{sumsSuffix, sumsSuffix + ".tmp", "", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
