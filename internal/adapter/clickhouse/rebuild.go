package clickhouse

import (
	"context"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// besideSuffix makes the name of the database in which a model is built anew while the old one answers.
const besideSuffix = "_rebuild"

var _ readmodel.Renewable = (*Model)(nil)

// exchanged are the tables in the order in which a new building takes their places. The positions go last: as long as the old ones
// stand, which are lower, whatever is new already is written again and changes nothing.
var exchanged = []string{"workflows", "history", "steps", "errors", "purged", "positions"}

var errAnotherWrites = fmt.Errorf("%w: another projector was writing while the new read model took the place of the old one; it is built once more", readmodel.ErrUnavailable)

// AskRebuild notes that somebody wants the model built anew.
func (m *Model) AskRebuild(ctx context.Context) error {
	ctx, end, err := m.query(ctx)
	if err != nil {
		return err
	}
	defer end()
	return m.failed(m.conn.Exec(ctx, "INSERT INTO rebuilds SELECT max(asked) + 1, 0 FROM rebuilds"))
}

// RebuildAsked returns the newest wish that is not fulfilled; 0 means none.
func (m *Model) RebuildAsked(ctx context.Context) (wish uint64, err error) {
	ctx, end, err := m.query(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	var done uint64
	if err := m.conn.QueryRow(ctx, "SELECT max(asked), max(done) FROM rebuilds").Scan(&wish, &done); err != nil {
		return 0, fmt.Errorf("wishes to rebuild: %w", m.failed(err))
	}
	if done >= wish {
		return 0, nil
	}
	return wish, nil
}

// Beside returns an empty model in a database of its own on the same server.
func (m *Model) Beside(ctx context.Context) (readmodel.Model, error) {
	options := *m.options
	options.Auth.Database = m.database + besideSuffix
	beside, err := openModel(&options)
	if err != nil {
		return nil, err
	}
	if err := beside.Reset(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("a place for the new read model: %w", err), beside.Close())
	}
	return beside, nil
}

// Exchange puts the tables of the new model in the places of the old ones, notes that the wish is fulfilled, and drops the old
// ones. When it breaks off, the wish stands and what is there can be gone on with.
func (m *Model) Exchange(ctx context.Context, with readmodel.Model, wish uint64) error {
	beside, ok := with.(*Model)
	if !ok || beside.database != m.database+besideSuffix {
		return errors.New("the new read model is not one of this store's")
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	before, err := m.readPositions(ctx)
	if err != nil {
		return m.failed(err)
	}
	for _, p := range before { // what is written half now would be half in the old tables
		if p.Hand > p.Next {
			return errAnotherWrites
		}
	}
	m.writer = writer{}
	for _, table := range exchanged {
		if err := m.conn.Exec(ctx, "EXCHANGE TABLES "+quoted(m.database)+"."+table+" AND "+quoted(beside.database)+"."+table); err != nil {
			return fmt.Errorf("exchange %s: %w", table, m.failed(err))
		}
	}
	after, err := beside.readPositions(ctx)
	if err != nil {
		return m.failed(err)
	}
	for id, p := range after {
		if p != before[id] {
			return errAnotherWrites
		}
	}
	if err := m.conn.Exec(ctx, "INSERT INTO rebuilds VALUES (?, ?)", wish, wish); err != nil {
		return fmt.Errorf("note that the read model is rebuilt: %w", m.failed(err))
	}
	if err := m.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quoted(beside.database)+" SYNC"); err != nil {
		return fmt.Errorf("the read model is rebuilt; what is left of the old one is in database %q: %w", beside.database, explain(err))
	}
	return nil
}
