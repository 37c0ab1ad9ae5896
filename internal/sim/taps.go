package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Ports with taps: they are those of the memory adapter, where a process may die before and after each write, and where
// whoever has something to do after a write gets its turn.

type tapLog struct {
	journal.Journal
	server *server
}

func (t tapLog) Send(command events.Envelope, done func(error)) error {
	w := t.server.w
	if t.server.dead {
		return journal.ErrClosed
	}
	if w.fault(RepeatCommands, 50) {
		_ = t.Journal.Send(command, nil) // what is refused need not be repeated
	}
	if err := t.Journal.Send(command, done); err != nil {
		return err
	}
	p := w.partitionOf(command.WorkflowID)
	if _, start := command.Command.(events.StartWorkflow); start {
		w.audit.starts[stamp{p, command.Session, command.N}] = command.RunID
	}
	t.server.parts[p].wake()
	return nil
}

func (t tapLog) Acquire(ctx context.Context, p events.Partition) (journal.Owner, error) {
	owner, err := t.Journal.Acquire(ctx, p)
	if err != nil {
		return nil, err
	}
	return tapOwner{owner, t.server, p}, nil
}

type tapOwner struct {
	journal.Owner
	server    *server
	partition events.Partition
}

func (t tapOwner) Take(limit int) []events.Envelope {
	taken := t.Owner.Take(limit)
	if len(taken) == limit {
		t.server.parts[t.partition].more = true
	}
	return taken
}

func (t tapOwner) Commit(ctx context.Context, step journal.Step) error {
	if err := t.server.wrote(); err != nil {
		return err
	}
	err := t.Owner.Commit(ctx, step)
	if len(step.Records) > 0 {
		t.server.wakeReaders()
	}
	if err != nil {
		return err
	}
	return t.server.wrote()
}

type tapRuns struct {
	runstore.Store
	server *server
}

func (t tapRuns) Write(ctx context.Context, p events.Partition, c runstore.Changes) error {
	if err := t.server.wrote(); err != nil {
		return err
	}
	if err := t.Store.Write(ctx, p, c); err != nil {
		return err
	}
	return t.server.wrote()
}

type tapIndex struct {
	dueindex.Index
	server *server
}

func (t tapIndex) Save(ctx context.Context, p events.Partition, next events.Seq, puts []dueindex.Item, deletes []dueindex.Key) error {
	if err := t.server.wrote(); err != nil {
		return err
	}
	if err := t.Index.Save(ctx, p, next, puts, deletes); err != nil {
		return err
	}
	return t.server.wrote()
}

type tapInbox struct {
	*memory.Inbox
	server *server
}

func (t tapInbox) Deliver(session events.SessionID, deliveries []inbox.Delivery) error {
	w := t.server.w
	if err := t.server.wrote(); err != nil {
		return inbox.ErrGone // the process is dead: nobody hears it
	}
	if w.tracing() {
		for _, d := range deliveries {
			w.tracef("delivery %d to %s of gateway %d: %s", d.Number, d.Worker, session, deliveryText(d))
		}
	}
	if w.fault(RefuseDelivery, 200) {
		w.tracef("it is refused")
		return inbox.ErrFull
	}
	if err := t.Inbox.Deliver(session, deliveries); err != nil {
		return err
	}
	for _, g := range t.server.gateways {
		if g.session == session {
			g.wake()
		}
	}
	return nil
}

func deliveryText(d inbox.Delivery) string {
	if d.Task != nil {
		return fmt.Sprintf("task %s attempt %d", d.Task.Task, d.Task.Attempt)
	}
	return fmt.Sprintf("activation %d attempt %d of %s", d.Activation.Activation.Activation, d.Activation.Activation.Attempt, d.Activation.WorkflowID)
}

func (t tapInbox) Report(r inbox.Report) error {
	if w := t.server.w; w.tracing() {
		w.tracef("report of gateway %d: joined %d left %v running %v credits %v returned %v", r.Session, len(r.Joined), r.Left, r.Running, r.Credits, r.Returned)
	}
	err := t.Inbox.Report(r)
	t.server.scheduler.wake()
	return err
}

// model is the read model. It outlives the server, as a database does.
type model struct {
	*memory.ReadModel
	w       *world
	trouble int // writes that fail from now on
}

func newModel(w *world) *model { return &model{ReadModel: memory.NewReadModel(), w: w} }

var errModel = errors.New("the read model cannot be reached")

func (m *model) heal() { m.trouble = 0 }

func (m *model) failing() error {
	if m.trouble > 0 {
		m.trouble--
		return errModel
	}
	return nil
}

// Apply fails before or after it wrote, or not.
func (m *model) Apply(ctx context.Context, b readmodel.Batch) error {
	s := m.w.server
	if s != nil {
		if err := s.wrote(); err != nil {
			return err
		}
	}
	trouble := m.failing()
	if trouble != nil && m.w.rng.IntN(2) == 0 {
		return trouble
	}
	if err := m.ReadModel.Apply(ctx, b); err != nil {
		return err
	}
	if trouble != nil {
		return trouble
	}
	if s != nil {
		return s.wrote()
	}
	return nil
}

// Rows fails while there is trouble.
func (m *model) Rows(ctx context.Context, runs []events.RunID) ([]row.Run, error) {
	if err := m.failing(); err != nil {
		return nil, err
	}
	return m.ReadModel.Rows(ctx, runs)
}
