package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// ReadModel is a read model that lives as long as the process. Its methods may be called from any goroutine; it has none
// of its own.
type ReadModel struct {
	mu        sync.Mutex
	runs      map[events.RunID]*row.Run
	positions map[events.Partition]readmodel.Position
	steps     map[row.StepKey]row.Steps
	errors    map[row.ErrorKey]row.Errors
	moved     chan struct{} // closed and replaced by every Apply
}

var _ readmodel.Model = (*ReadModel)(nil)

// NewReadModel makes an empty read model.
func NewReadModel() *ReadModel {
	return &ReadModel{
		runs: map[events.RunID]*row.Run{}, positions: map[events.Partition]readmodel.Position{}, moved: make(chan struct{}),
		steps: map[row.StepKey]row.Steps{}, errors: map[row.ErrorKey]row.Errors{},
	}
}

// Apply writes a batch.
func (m *ReadModel) Apply(_ context.Context, b readmodel.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range b.Rows {
		r := &b.Rows[i]
		switch old := m.runs[r.RunID]; {
		case old == nil:
			kept := cloneRun(r)
			m.runs[r.RunID] = &kept
		case r.Version > old.Version:
			*old = cloneRun(r)
		}
	}
	for _, id := range b.Deletes {
		delete(m.runs, id)
	}
	m.count(b.Outcomes)
	for _, p := range b.Positions {
		m.positions[p.Partition] = p
	}
	close(m.moved)
	m.moved = make(chan struct{})
	return nil
}

// cloneRun copies what folding changes in place.
func cloneRun(stored *row.Run) row.Run {
	r := *stored
	r.Tasks, r.Timers, r.Signals = slices.Clone(r.Tasks), slices.Clone(r.Timers), slices.Clone(r.Signals)
	r.Inbox, r.Views = slices.Clone(r.Inbox), slices.Clone(r.Views)
	return r
}

// Rows returns the rows of the given runs.
func (m *ReadModel) Rows(_ context.Context, runs []events.RunID) ([]row.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []row.Run
	for _, id := range runs {
		if r, ok := m.runs[id]; ok {
			rows = append(rows, cloneRun(r))
		}
	}
	return rows, nil
}

// Positions returns how far the model is.
func (m *ReadModel) Positions(context.Context) ([]readmodel.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var positions []readmodel.Position
	for _, p := range m.positions {
		positions = append(positions, p)
	}
	slices.SortFunc(positions, func(a, b readmodel.Position) int { return cmp.Compare(a.Partition, b.Partition) })
	return positions, nil
}

// Watermark returns how far the model is.
func (m *ReadModel) Watermark(ctx context.Context) ([]readmodel.Position, error) {
	return m.Positions(ctx)
}

// Reset drops everything.
func (m *ReadModel) Reset(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.runs)
	clear(m.positions)
	clear(m.steps)
	clear(m.errors)
	return nil
}

// Run returns one run in full.
func (m *ReadModel) Run(_ context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID) (row.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.find(ns, id, run)
	if !ok {
		return row.Run{}, fmt.Errorf("workflow %q, run %s: %w", id, run, readmodel.ErrNotFound)
	}
	return cloneRun(found), nil
}

func (m *ReadModel) find(ns events.Namespace, id events.WorkflowID, run events.RunID) (found *row.Run, ok bool) {
	if !run.IsZero() {
		r := m.runs[run]
		return r, r != nil && r.Namespace == ns && r.WorkflowID == id
	}
	for _, r := range m.runs {
		if r.Namespace == ns && r.WorkflowID == id && (found == nil || newestFirst(*r, *found) < 0) {
			found = r
		}
	}
	return found, found != nil
}

// View returns one view of a run.
func (m *ReadModel) View(
	_ context.Context, ns events.Namespace, id events.WorkflowID, run events.RunID, name events.ViewName,
) (row.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found, ok := m.find(ns, id, run); ok {
		for _, v := range found.Views {
			if v.Name == name {
				return v, nil
			}
		}
	}
	return row.View{}, fmt.Errorf("workflow %q, run %s, view %q: %w", id, run, name, readmodel.ErrNotFound)
}

func newestFirst(a, b row.Run) int {
	return cmp.Or(cmp.Compare(b.Started, a.Started), bytes.Compare(b.RunID[:], a.RunID[:]))
}

// List returns a page of the runs that fit.
func (m *ReadModel) List(_ context.Context, f readmodel.Filter, p readmodel.Page) (readmodel.List, error) {
	limit, after, err := p.Resolve(f)
	if err != nil {
		return readmodel.List{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	behind := row.Run{RunID: after.RunID, Started: after.Started}
	var fit []row.Run
	for _, stored := range m.runs {
		r := *stored
		if fits(f, r) && (after == readmodel.Cursor{} || newestFirst(behind, r) < 0) {
			r.Result, r.Failure, r.Views = events.Payload{}, nil, nil
			r.Tasks, r.Timers, r.Signals, r.Activation, r.Inbox = nil, nil, nil, nil, nil
			fit = append(fit, r)
		}
	}
	slices.SortFunc(fit, newestFirst)
	list := readmodel.List{Runs: fit}
	if len(fit) > limit {
		list.Runs = fit[:limit]
		list.NextToken = readmodel.CursorOf(fit[limit-1]).Token(f)
	}
	return list, nil
}

func fits(f readmodel.Filter, r row.Run) bool {
	return (f.Namespace == "" || f.Namespace == r.Namespace) &&
		(f.Type == "" || f.Type == r.Type) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, r.Status)) &&
		(f.WorkflowID == "" || f.WorkflowID == r.WorkflowID) &&
		strings.HasPrefix(string(r.WorkflowID), f.WorkflowIDPrefix) &&
		(f.StartedFrom == 0 || r.Started >= f.StartedFrom) &&
		(f.StartedTo == 0 || r.Started < f.StartedTo) &&
		(!f.Quarantined || r.Quarantine != "")
}

// Count counts the runs that fit.
func (m *ReadModel) Count(_ context.Context, f readmodel.Filter) ([]readmodel.Count, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	type group struct {
		kind   events.WorkflowType
		status events.Status
	}
	numbers := map[group]int64{}
	for _, r := range m.runs {
		if fits(f, *r) {
			numbers[group{r.Type, r.Status}]++
		}
	}
	var counts []readmodel.Count
	for g, n := range numbers {
		counts = append(counts, readmodel.Count{Type: g.kind, Status: g.status, Runs: n})
	}
	slices.SortFunc(counts, func(a, b readmodel.Count) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), cmp.Compare(a.Status, b.Status))
	})
	return counts, nil
}

// WaitFor returns when the partition is folded up to and including seq.
func (m *ReadModel) WaitFor(ctx context.Context, p events.Partition, seq events.Seq) error {
	for {
		m.mu.Lock()
		done, moved := m.positions[p].Next > seq, m.moved
		m.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
