package memory

import (
	"context"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
)

// count adds the outcomes of a batch that are not included yet.
func (m *ReadModel) count(outcomes []row.Outcome) {
	for i := range outcomes {
		o := &outcomes[i]
		if o.Seq != 0 && o.Seq < m.positions[o.Partition].Next {
			continue
		}
		steps := m.steps[row.KeyOf(o)]
		if steps.Add(o) {
			m.steps[row.KeyOf(o)] = steps
		}
		if o.Failure != nil {
			e := m.errors[row.ErrorKeyOf(o)]
			e.Add(o)
			m.errors[row.ErrorKeyOf(o)] = e
		}
	}
}

// StepStats returns what became of tasks.
func (m *ReadModel) StepStats(_ context.Context, f readmodel.StatsFilter) ([]readmodel.StepStats, error) {
	tally, err := readmodel.NewStepTally(f)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, s := range m.steps {
		if f.Fits(k) {
			tally.Add(k, &s)
		}
	}
	return tally.Stats()
}

// TopErrors returns the most frequent kinds of failures.
func (m *ReadModel) TopErrors(_ context.Context, f readmodel.ErrorFilter) ([]readmodel.ErrorCount, error) {
	tally, err := readmodel.NewErrorTally(f)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.errors {
		if f.Fits(k) {
			tally.Add(k, &e)
		}
	}
	return tally.Top(), nil
}
