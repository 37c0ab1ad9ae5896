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
type known map[events.RunID]row.Run

// take returns the rows it has of the given runs, which are the caller's from now on, and the runs to ask for.
func (k known) take(wanted []events.RunID) (rows []row.Run, ask []events.RunID) {
	rows = make([]row.Run, 0, len(wanted))
	for _, run := range wanted {
		if r, ok := k[run]; ok {
			rows = append(rows, r)
			delete(k, run)
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
		if r := &rows[i]; r.Status.Open() && small(r) && len(k) < maxKnown {
			k[r.RunID] = *r
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
