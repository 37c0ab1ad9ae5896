package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Stepper is the working of a projector, step by step, for a simulator: [Projector.Run] waits between its steps and tries
// again what the model does not take. It is used by one goroutine. After an error it is of no more use but Close.
type Stepper struct {
	projector *Projector
	reader    journal.Reader
}

// Open goes on from where the model is; one that cannot be gone on with is dropped and built anew.
func (p *Projector) Open(ctx context.Context) (*Stepper, error) {
	reader, err := p.follow(ctx)
	if errors.Is(err, errRebuild) || errors.Is(err, readmodel.ErrDamaged) {
		if err := p.deps.Model.Reset(ctx); err != nil {
			return nil, fmt.Errorf("drop the read model: %w", err)
		}
		reader, err = p.follow(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &Stepper{projector: p, reader: reader}, nil
}

// Step collects what the log has and writes what is due. Busy says that the log may have more; otherwise the next step is
// due at wake at the latest, 0 meaning when the log has more. In a hurry everything read is written.
func (s *Stepper) Step(ctx context.Context, hurry bool) (busy bool, wake events.Time, err error) {
	p := s.projector
	records, err := s.reader.TryNext(recordsPerTurn)
	if err != nil {
		return false, 0, fmt.Errorf("follow the log: %w", err)
	}
	out := p.Turn(Input{Now: p.now(), Records: records, Hurry: hurry && len(records) == 0})
	for out.Write {
		if err := p.last(ctx, out); err != nil {
			return false, 0, err
		}
		out = p.Turn(Input{Now: p.now(), Records: out.Rest})
	}
	return len(records) > 0, out.Wake, nil
}

// Close ends the following of the log. It writes nothing.
func (s *Stepper) Close() { s.reader.Close() }
