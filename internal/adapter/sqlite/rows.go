package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// runsPerQuery is how many runs one query reads: a query costs more than ten rows, and nobody else has the connection
// meanwhile.
const runsPerQuery = 1000

// wanted is the table of the runs that a query is for, made of one argument: the driver binds arguments in time quadratic to
// their number.
const wanted = "(SELECT key AS place, unhex(value) AS id FROM json_each(?)) AS wanted"

// listed is the argument for wanted.
func listed(runs []events.RunID) string {
	b := make([]byte, 0, (2*len(events.RunID{})+3)*len(runs)+2)
	b = append(b, '[')
	for i := range runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, runs[i][:])
		b = append(b, '"')
	}
	return string(append(b, ']'))
}

// Rows returns the stored rows of the given runs.
func (m *Model) Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	end, err := m.use()
	if err != nil {
		return nil, err
	}
	defer end()
	rows := make([]row.Run, len(runs)) // at the places of their runs
	for first := 0; first < len(runs); first += runsPerQuery {
		last := min(first+runsPerQuery, len(runs))
		if err := m.rows(ctx, runs[first:last], rows[first:last]); err != nil {
			return nil, m.failed(fmt.Errorf("rows of the read model: %w", err))
		}
	}
	return slices.DeleteFunc(rows, func(r row.Run) bool { return r.RunID.IsZero() }), nil
}

// rows reads the rows of runs that are there, each to the place of its run.
func (m *Model) rows(ctx context.Context, runs []events.RunID, rows []row.Run) error {
	var c cells
	var place int64
	var shown []events.RunID // those that have views
	var at []int64           // their places
	dest := append(c.all(), &place)
	found, err := m.stmts.rows.QueryContext(ctx, listed(runs))
	err = each(found, err, func(from *sql.Rows) error {
		if err := from.Scan(dest...); err != nil {
			return err
		}
		views, err := c.fill(&rows[place])
		if err != nil {
			return fmt.Errorf("run %s: %w", runs[place], err)
		}
		if views > 0 {
			shown, at = append(shown, runs[place]), append(at, place)
		}
		return nil
	})
	if err != nil || len(shown) == 0 {
		return err
	}
	found, err = m.stmts.views.QueryContext(ctx, listed(shown))
	return each(found, err, func(from *sql.Rows) error {
		v, err := scanView(from, &place)
		if err != nil {
			return fmt.Errorf("views of run %s: %w", shown[place], err)
		}
		r := &rows[at[place]]
		r.Views = append(r.Views, v)
		return nil
	})
}
