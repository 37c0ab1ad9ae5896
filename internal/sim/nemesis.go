package sim

import "github.com/continuo-dev/continuo/services/scheduler"

// scheduleNemesis lets a fault of those chosen happen now and then, until the calm.
func (w *world) scheduleNemesis() {
	w.after(w.rng.Int64N(2*w.tuning.pause)+1, kindNemesis, func() {
		if w.calm {
			return
		}
		w.strike()
		w.scheduleNemesis()
	})
}

// strike makes one fault happen, if the seed has it.
func (w *world) strike() {
	f := Faults(1) << w.rng.IntN(lastFault)
	s := w.server
	if !w.has(f) || s == nil {
		return
	}
	switch f {
	case CrashServer:
		w.count(f)
		if w.rng.IntN(2) == 0 {
			w.crash = true
			return
		}
		w.crashIn = 1 + w.rng.IntN(30)
	case CrashScheduler:
		w.count(f)
		s.crashScheduler()
	case CrashGateway:
		w.count(f)
		s.crashGateway(w.rng.IntN(len(s.gateways)))
	case CrashProjector:
		w.count(f)
		s.crashProjector()
	case LosePartition:
		w.count(f)
		s.parts[w.rng.IntN(len(s.parts))].lose()
	case CutWorker:
		if k := w.workers[w.rng.IntN(len(w.workers))]; k.conn != nil {
			w.count(f)
			w.tracef("the stream of %s breaks", k.id)
			k.conn.cut()
		}
	case KillWorker:
		w.count(f)
		k := w.workers[w.rng.IntN(len(w.workers))]
		w.tracef("%s dies", k.id)
		k.die()
		w.startWorker()
	case JumpClock:
		w.jumpClock()
	case TroubleModel:
		w.count(f)
		w.model.trouble = 1 + w.rng.IntN(10)
		if w.rng.IntN(4) == 0 && s.projector.step == nil {
			w.tracef("the read model is dropped")
			_ = w.model.Reset(w.ctx) // memory does not fail
		}
	default: // those happen where they are asked for
	}
}

// years are those that a clock jumps by when it jumps far.
const years = 10 * 365 * 24 * hour

// jumpClock sets the wall clock wrong for a while, or lets it stand still.
func (w *world) jumpClock() {
	if w.offset != w.clockGuilt || w.frozen != 0 {
		w.healClock()
		return
	}
	w.count(JumpClock)
	by := []int64{hour, -hour, years, -years, 5 * second, -5 * second, 0}[w.rng.IntN(7)]
	if by == 0 {
		w.frozen = w.now + w.offset
		w.tracef("the clock stands still")
	} else {
		w.offset += by
		w.tracef("the clock jumps by %d s", by/second)
	}
	w.pokeAll()
	if w.server != nil && w.rng.IntN(3) == 0 {
		w.after(w.rng.Int64N(5*second), kindNemesis, func() {
			if w.server != nil && !w.calm {
				w.acceptClock()
			}
		})
	}
	w.after(w.rng.Int64N(20*second), kindNemesis, w.healClock)
}

// acceptClock is an operator who says that the clock is right.
func (w *world) acceptClock() {
	w.tracef("an operator accepts the clock")
	w.frozen = 0
	w.clockGuilt = max(w.clockGuilt, w.offset)
	w.server.engine.AcceptClock()
}

// healClock sets the clock right: to the time that is ahead of what anybody has written down.
func (w *world) healClock() {
	if w.frozen == 0 && w.offset == w.clockGuilt {
		return
	}
	w.tracef("the clock is set right")
	w.frozen, w.offset = 0, w.clockGuilt
	if w.server != nil {
		w.server.engine.AcceptClock()
	}
	w.pokeAll()
}

// pokeAll gives everybody a turn, as sleepers that wake after at most ten seconds.
func (w *world) pokeAll() {
	if s := w.server; s != nil {
		for _, p := range s.parts {
			p.poke(w.rng.Int64N(second))
		}
		s.scheduler.poke(w.rng.Int64N(10 * second))
		s.projector.poke(w.rng.Int64N(second))
	}
}

func (w *world) schedulerOptions() scheduler.Options {
	o := scheduler.Options{}
	if w.tuning.features.has(smallScheduler) {
		o.SaveEvery, o.SaveRecords, o.Timers, o.Horizon = 500_000_000, 20, 4, 5_000_000_000
		o.Backlog.Lane, o.Backlog.Total, o.Backlog.Floor = 8, 16, 4
	}
	return o
}
