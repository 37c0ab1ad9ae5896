package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Stepper is the working of a scheduler, step by step: [Scheduler.Run] waits between the steps, a simulator does not. It is
// used by one goroutine. After an error it is of no more use but Close.
type Stepper struct {
	scheduler *Scheduler
	reader    journal.Reader
	reports   inbox.Reports
	in        Input
	wall      events.Time // at the step before, and so is boot
	boot      time.Duration
}

// Open begins to work: it follows the gateways and, from where the index is, the log.
func (s *Scheduler) Open(ctx context.Context) (*Stepper, error) {
	reports, err := s.deps.Inbox.Reports(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow the gateways: %w", err)
	}
	from, err := s.Start(ctx)
	if err != nil {
		reports.Close()
		return nil, err
	}
	reader, err := s.deps.Log.Follow(ctx, from)
	if err != nil {
		reports.Close()
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	return &Stepper{scheduler: s, reader: reader, reports: reports}, nil
}

// Step takes in what came and does what follows from it. Busy says that there is more to do at once; otherwise the next step is
// due at wake at the latest, 0 meaning when the log or the gateways are ready.
func (s *Stepper) Step(ctx context.Context) (busy bool, wake events.Time, err error) {
	records, err := s.reader.TryNext(recordsPerTurn)
	if err != nil {
		return false, 0, fmt.Errorf("follow the log: %w", err)
	}
	in := &s.in
	in.Now, in.Records, in.Fires = s.scheduler.now(), records, s.scheduler.fires.room()
	boot := s.scheduler.deps.Clock.Boot()
	in.Ahead = in.Now.Sub(s.wall) - (boot - s.boot)
	s.wall, s.boot = in.Now, boot
	if taken := s.reports.Take(reportsPerTurn); len(in.Reports) == 0 {
		in.Reports = taken
	} else {
		in.Reports = append(in.Reports, taken...)
	}
	out, err := s.scheduler.Turn(*in)
	if err != nil {
		return false, 0, err
	}
	busy = len(records) == recordsPerTurn || len(in.Reports) >= reportsPerTurn
	s.in = Input{}
	if s.in.Found, s.in.Reports, err = s.scheduler.do(ctx, out); err != nil {
		return false, 0, err
	}
	return busy || len(s.in.Found) > 0 || len(s.in.Reports) > 0, out.Wake, nil
}

// Flush saves what is open, as a planned end does.
func (s *Stepper) Flush(ctx context.Context) error {
	return s.scheduler.keep(ctx, s.scheduler.Flush(s.scheduler.now()))
}

// Close ends the following of log and gateways. It saves nothing.
func (s *Stepper) Close() {
	s.reader.Close()
	s.reports.Close()
}
