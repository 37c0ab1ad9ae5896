package projector

import (
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of the rows kept in memory: how many, and what one of them may list and hold in its views.
const (
	maxKnown       = 4096
	maxKnownListed = 64
	maxKnownViews  = 4 << 10 // bytes
)

// known are rows of open runs as the model has them, because they were just written: the next batch builds upon most of
// them and need not ask. Those it does not have are asked for.
//
// A row that was taken is zero: its room waits for what is written of the run.
type known map[events.RunID]*row.Run

// take appends the rows it has of the given runs, which are the caller's from now on, and returns the runs to ask for.
func (k known) take(rows []row.Run, wanted []events.RunID) (_ []row.Run, ask []events.RunID) {
	for _, run := range wanted {
		if r := k[run]; r != nil && !r.RunID.IsZero() {
			rows = append(rows, *r)
			*r = row.Run{}
			continue
		}
		ask = append(ask, run)
	}
	return rows, ask
}

// add keeps rows that the model has taken. When there are too many, those written before go.
func (k known) add(rows []row.Run) {
	if len(k)+len(rows) > maxKnown {
		clear(k)
	}
	for i := range rows {
		r := &rows[i]
		room := k[r.RunID]
		switch {
		case !r.Status.Open() || !small(r):
			delete(k, r.RunID)
		case room != nil:
			*room = *r
		case len(k) < maxKnown:
			kept := *r
			k[r.RunID] = &kept
		}
	}
}

func small(r *row.Run) bool { return viewBytes(r) <= maxKnownViews && listed(r) <= maxKnownListed }

func listed(r *row.Run) int {
	return len(r.Tasks) + len(r.Timers) + len(r.Signals) + len(r.Inbox) + len(r.Views)
}

func viewBytes(r *row.Run) (n int) {
	for i := range r.Views {
		n += len(r.Views[i].Value.Data)
	}
	return n
}

// bytesOf is about how much memory a row takes.
func bytesOf(r *row.Run) int { return 600 + 200*listed(r) + viewBytes(r) + len(r.Result.Data) }
