package sim

import (
	"errors"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/projector"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// server is one life of the server process: all services over one life of the store.
type server struct {
	w         *world
	dead      bool
	log       journal.Journal
	inbox     inbox.Inbox
	engine    *engine.Engine
	parts     []*partition
	scheduler *dispatcher
	gateways  []*gateway
	projector *folder
}

func (w *world) startServer() {
	s := &server{w: w}
	w.server = s
	w.lives++
	w.tracef("server starts, life %d", w.lives)
	s.log, s.inbox = tapLog{w.store.Journal(), s}, tapInbox{w.store.Inbox(), s}
	w.applyFaults()
	if at := w.offset; at > w.clockGuilt {
		w.clockGuilt = at // a start takes the clock as it is
	}
	e, err := engine.New(engine.Deps{
		Log: s.log, Runs: tapRuns{w.store.RunStore(), s}, Archive: w.store.Archive(), Blobs: w.store.Blobs(), Clock: virtualClock{w}, Logger: w.logger,
	}, engine.Options{CachedRuns: w.tuning.cachedRuns, Batch: w.tuning.batch, FlushEvery: w.tuning.flushEvery, Readers: []string{scheduler.Holder, projector.Holder}})
	if err != nil {
		panic(err) // the options are made here
	}
	s.engine = e
	for p := range w.tuning.partitions {
		part := &partition{server: s, id: events.Partition(p)}
		part.actor = actor{w: w, turn: part.turn}
		s.parts = append(s.parts, part)
		part.poke(w.rng.Int64N(50 * millisecond))
	}
	s.startScheduler()
	s.startProjector()
	for range w.tuning.gateways {
		s.gateways = append(s.gateways, s.newGateway())
	}
}

// die ends the process.
func (s *server) die() {
	s.dead = true
	for _, p := range s.parts {
		p.dead = true
	}
	s.scheduler.dead, s.projector.dead = true, true
	for _, g := range s.gateways {
		g.die()
	}
	s.w.server = nil
}

// crashServer ends the server as kill -9 does. It is started again a little later.
func (w *world) crashServer() {
	w.crash, w.crashIn = false, 0
	if w.server == nil {
		return
	}
	keep := w.rng.IntN(6)
	w.tracef("server crashes; %d unsynced writes survive", keep)
	w.server.die()
	w.store = w.store.Crash(keep)
	w.audit.rewound()
	down := w.rng.Int64N(3 * second)
	if w.rng.IntN(4) == 0 {
		down = w.rng.Int64N(30 * second)
	}
	if w.calm {
		down = second
	}
	w.after(down, kindNemesis, func() {
		if w.server == nil {
			w.startServer()
		}
	})
}

// errCrash ends a turn in which the process dies.
var errCrash = errors.New("the process was killed")

// wrote is called by each durable write and each message of a service: between any two of them the process may die.
func (s *server) wrote() error {
	w := s.w
	if w.crash {
		return errCrash
	}
	if w.crashIn > 0 {
		if w.crashIn--; w.crashIn == 0 {
			w.crash = true
			return errCrash
		}
	}
	return nil
}

// partition is the engine's owner of a partition.
type partition struct {
	actor
	server *server
	id     events.Partition
	step   *engine.Stepper
	more   bool // commands may wait beyond those that were taken
}

func (p *partition) turn() {
	w, ctx := p.server.w, p.server.w.ctx
	if p.step == nil {
		step, err := p.server.engine.Own(ctx, p.id)
		if err != nil {
			p.failed(err)
			return
		}
		p.step = step
		w.tracef("partition %d is recovered up to record %d", p.id, step.Seq())
		w.audit.recovered(p.id, step)
	}
	if err := p.step.Turn(ctx); err != nil {
		if errors.As(err, new(*engine.ClockError)) {
			p.poke(second)
			return
		}
		p.step.Release()
		p.step = nil
		p.failed(err)
		return
	}
	w.audit.compare(p.step)
	if p.more {
		p.more = false
		p.poke(1)
		return
	}
	p.poke(p.step.Idle().Microseconds())
}

func (p *partition) failed(err error) {
	w := p.server.w
	w.tracef("partition %d: %v", p.id, err)
	switch {
	case w.crash || errors.Is(err, journal.ErrClosed):
	case errors.As(err, new(*engine.ClockError)):
		p.poke(second)
	case errors.Is(err, journal.ErrLost):
		p.poke(100 * millisecond)
	default:
		w.violate("recovery", "partition %d cannot go on: %v", p.id, err)
		p.poke(minute)
	}
}

// lose ends the ownership of the partition, as another owner would.
func (p *partition) lose() {
	if p.step == nil {
		return
	}
	p.w.tracef("partition %d loses its owner", p.id)
	p.step.Release()
	p.step = nil
	p.poke(100 * millisecond)
}

// dispatcher is the scheduler.
type dispatcher struct {
	actor
	server *server
	step   *scheduler.Stepper
}

func (s *server) startScheduler() {
	d := &dispatcher{server: s}
	d.actor = actor{w: s.w, turn: d.turn}
	s.scheduler = d
	d.poke(s.w.rng.Int64N(50 * millisecond))
}

func (d *dispatcher) turn() {
	w := d.w
	if err := d.open(); err != nil {
		d.failed(err)
		return
	}
	busy, wake, err := d.step.Step(w.ctx)
	switch {
	case err != nil:
		d.failed(err)
	case busy:
		d.poke(1)
	case wake != 0:
		d.poke(min(max(int64(wake-w.wallTime()), 1), 10*second))
	}
}

func (d *dispatcher) open() error {
	if d.step != nil {
		return nil
	}
	w := d.w
	step, err := scheduler.New(scheduler.Deps{
		Log: d.server.log, Commands: d.server.log, Index: tapIndex{w.store.DueIndex(), d.server}, Inbox: d.server.inbox,
		Clock: virtualClock{w}, Logger: w.logger, Partitions: w.allPartitions(),
	}, w.schedulerOptions()).Open(w.ctx)
	d.step = step
	return err
}

func (d *dispatcher) failed(err error) {
	w := d.w
	w.tracef("scheduler: %v", err)
	d.close()
	if w.crash || d.server.dead {
		return
	}
	if !errors.Is(err, journal.ErrClosed) {
		w.violate("scheduler", "it cannot go on: %v", err)
	}
	d.poke(second)
}

func (d *dispatcher) close() {
	if d.step != nil {
		d.step.Close()
		d.step = nil
	}
}

// crashScheduler loses the scheduler's memory; another one starts.
func (s *server) crashScheduler() {
	s.w.tracef("scheduler dies")
	s.scheduler.dead = true
	s.scheduler.close()
	s.startScheduler()
}

// folder is the projector.
type folder struct {
	actor
	server *server
	step   *projector.Stepper
	hurry  bool
}

func (s *server) startProjector() {
	f := &folder{server: s}
	f.actor = actor{w: s.w, turn: f.turn}
	s.projector = f
	f.poke(s.w.rng.Int64N(50 * millisecond))
}

func (f *folder) turn() {
	w := f.w
	if f.step == nil {
		step, err := projector.New(projector.Deps{
			Log: f.server.log, Model: w.model, Archive: w.store.Archive(), Clock: virtualClock{w}, Logger: w.logger, Partitions: w.allPartitions(),
		}, projector.Options{}).Open(w.ctx)
		if err != nil {
			f.failed(err)
			return
		}
		f.step = step
	}
	busy, wake, err := f.step.Step(w.ctx, f.hurry)
	switch {
	case err != nil:
		f.failed(err)
	case busy:
		f.poke(1)
	case wake != 0:
		f.poke(max(int64(wake-w.wallTime()), 1))
	}
}

func (f *folder) failed(err error) {
	w := f.w
	w.tracef("projector: %v", err)
	if f.step != nil {
		f.step.Close()
		f.step = nil
	}
	if w.crash || f.server.dead {
		return
	}
	if !errors.Is(err, errModel) && !errors.Is(err, journal.ErrClosed) {
		w.violate("projector", "it cannot go on: %v", err)
	}
	f.poke(second)
}

// crashProjector loses the projector's memory; another one starts.
func (s *server) crashProjector() {
	s.w.tracef("projector dies")
	s.projector.dead = true
	if s.projector.step != nil {
		s.projector.step.Close()
	}
	s.startProjector()
}

// wakeReaders pokes those who read the log.
func (s *server) wakeReaders() {
	w := s.w
	s.scheduler.wake()
	s.projector.poke(w.rng.Int64N(10 * millisecond))
	for _, g := range s.gateways {
		g.wake()
	}
}

// applyFaults gives the store the faults of its present life.
func (w *world) applyFaults() {
	w.store.SetFaults(memory.Faults{Commit: w.commitFault, Send: w.sendFault})
}

func (w *world) commitFault(p events.Partition, records []*events.Record) memory.CommitFault {
	fault := memory.CommitOK
	switch {
	case len(records) == 0:
	case w.fault(CommitLost, w.tuning.lost):
		w.tracef("partition %d: a commit of %d records is lost", p, len(records))
		return memory.CommitLost
	case w.fault(CommitUnknown, w.tuning.lost):
		w.tracef("partition %d: the outcome of a commit of %d records is unknown", p, len(records))
		fault = memory.CommitUnknown
	}
	w.audit.accept(p, records)
	return fault
}

func (w *world) sendFault(command events.Envelope) error {
	if events.FromClient(command.Command) && w.fault(RefuseCommands, 10) {
		if w.rng.IntN(2) == 0 {
			return journal.ErrDiskFull
		}
		return journal.ErrFull
	}
	return nil
}
