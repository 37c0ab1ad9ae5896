package scheduler

import (
	"time"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Input is what a turn is given.
type Input struct {
	Now events.Time
	// Found answers the Queries of the turn before, in their order. Saves of that turn were done before the queries.
	Found []Found
	// Records are the next ones of the log, in order per partition.
	Records []*events.Record
	// Reports are the gateways' news, in order per session.
	Reports []inbox.Report
	// Ahead is by how much the wall clock has gone ahead of a steady one since the turn before: it was set, or stood still.
	Ahead time.Duration
	// Fires is how many FireTimer commands may leave.
	Fires int
}

// Output is what a turn wants done, in the order of its fields.
type Output struct {
	Saves   []Save
	Queries []Query
	// Deliveries are per gateway session, valid until the next turn. Those that a session did not take stay its own until it is
	// reported gone.
	Deliveries []Deliveries
	Commands   []events.Envelope
	// Wake is when the next turn is due although nothing comes in; 0 means never.
	Wake events.Time
}

// Deliveries are for one gateway session.
type Deliveries struct {
	Session events.SessionID
	Items   []inbox.Delivery
}

// Save is one change of the index.
type Save struct {
	Partition events.Partition
	Next      events.Seq
	Puts      []dueindex.Item
	Deletes   []dueindex.Key
	// Ended are runs whose rows are all to be deleted, in ascending order.
	Ended []events.RunID
}

// Query asks the index for the items of a kind with a due time up to Until, after After, at most Limit.
type Query struct {
	Partition events.Partition
	Kind      dueindex.Kind
	After     dueindex.Item
	Until     events.Time
	Limit     int

	sweeping bool
}

// Found is the answer to a query.
type Found struct {
	Query Query
	Items []dueindex.Item
}

// maxAhead is what the wall clock may gain on a steady one between two turns without being in doubt: less than what the time of
// an offer leaves after its gateway has told of it.
const maxAhead = 100 * time.Millisecond

// Turn takes what came in and says what is to be done. It neither blocks nor looks at a clock. An error means that the
// index or the log cannot be read by this build; the scheduler cannot go on.
func (s *Scheduler) Turn(in Input) (Output, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out Output
	if in.Now < s.turned {
		s.setBack(in.Now)
	}
	if s.turned == 0 || in.Now < s.turned || in.Ahead > maxAhead {
		s.matcher.Doubt(in.Now)
	}
	s.turned = in.Now
	for _, found := range in.Found {
		if err := s.take(in.Now, found); err != nil {
			return out, err
		}
	}
	for _, r := range in.Records {
		s.fold(in.Now, r)
	}
	for _, r := range in.Reports {
		s.report(in.Now, r)
	}
	if s.ready() {
		out.Deliveries = s.dispatch(in.Now)
		out.Commands = s.fire(in.Now, in.Fires)
	}
	out.Saves = s.saves(in.Now)
	out.Queries = s.queries(in.Now)
	out.Wake = s.wake(in, out)
	return out, nil
}

// wake returns when the next turn is due.
func (s *Scheduler) wake(in Input, out Output) events.Time {
	if len(out.Queries) > 0 {
		return in.Now
	}
	var wake events.Time
	earliest := func(at events.Time) {
		if at != 0 && (wake == 0 || at < wake) {
			wake = at
		}
	}
	if s.ready() {
		if at, ok := s.matcher.Next(); ok {
			earliest(max(at, 1))
		}
		if at, ok := s.wheel.Next(); ok && len(out.Commands) < in.Fires {
			earliest(max(at, 1))
		}
	}
	for _, p := range s.parts {
		if p.records > 0 {
			earliest(p.since.Add(s.options.SaveEvery))
		}
		for kind := range p.scans {
			earliest(s.advanceAt(p, &p.scans[kind]))
		}
	}
	return wake
}

// ready reports whether the log has been folded to where it ended when the scheduler began.
func (s *Scheduler) ready() bool {
	if s.begun {
		return true
	}
	for _, p := range s.parts {
		if p.next <= p.target {
			return false
		}
	}
	s.begun = true
	return true
}
