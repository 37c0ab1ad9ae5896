package fencing

import (
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// reader is a projector, a gateway or an operator's tool.
type reader struct {
	part  *part
	state *fold.State
	pos   int
	kept  [2]checkpoint
}

func (r *reader) save() checkpoint {
	return checkpoint{bytes: fold.AppendCheckpoint(nil, r.state, nil), at: after(r.state.At())}
}

// restart lets a reader begin again from one of its checkpoints, or from the first message.
func (w *world) restart(r *reader) {
	kept := r.kept[w.r.IntN(2)]
	if kept.bytes == nil {
		kept = r.kept[0]
	}
	r.state, r.pos = fold.NewState(r.part.id), kept.at
	if kept.bytes != nil {
		r.state = w.decode(kept.bytes)
		w.Restarts++
	}
}

func (w *world) decode(b []byte) *fold.State {
	s, _, err := fold.DecodeCheckpoint(b)
	if err != nil {
		w.fail("a checkpoint cannot be read: %v", err)
		return fold.NewState(0)
	}
	return s
}

// follow lets a reader read a few messages and reports whether there were some.
func (w *world) follow(r *reader) bool {
	for n := range 1 + w.r.IntN(5) {
		if r.pos == len(r.part.events.all) {
			return n > 0
		}
		if r.pos < r.part.events.trimmed {
			w.restart(r)
			return true
		}
		before := r.state.Seq()
		v, f := r.state.Read(r.part.events.at(r.pos))
		r.pos++
		w.judged(r.part, v, &f, before, r.state)
	}
	return true
}

// forwarder carries a partition's commands.
type forwarder struct {
	part  *part
	f     *fold.Forwarder
	pos   int
	conns [partitions]conn
	dead  bool
}

func (w *world) newForwarder(p *part) {
	kept := p.carried[0]
	if w.r.IntN(4) == 0 && p.carried[1].bytes != nil {
		kept = p.carried[1]
	}
	state, acked := fold.NewState(p.id), []fold.Counter(nil)
	if kept.bytes != nil {
		var err error
		if state, acked, err = fold.DecodeCheckpoint(kept.bytes); err != nil {
			w.fail("a checkpoint cannot be read: %v", err)
			return
		}
	}
	p.forwarders = append(p.forwarders, &forwarder{part: p, f: fold.NewForwarder(state, acked), pos: kept.at})
}

func (w *world) killForwarder(f *forwarder) {
	f.dead = true
	for i := range f.conns {
		f.conns[i].cut(w.r)
	}
}

// carry lets a forwarder do one thing and reports whether it did something.
func (w *world) carry(f *forwarder) bool {
	if f.dead {
		return false
	}
	if w.storm && w.r.IntN(4) == 0 {
		if state, acked, ok := f.f.Checkpoint(); ok {
			keep(&f.part.carried, checkpoint{bytes: fold.AppendCheckpoint(nil, state, acked), at: after(state.At())})
		}
	}
	for to := range events.Partition(partitions) {
		b, ticket, ok := f.f.Next(to)
		if !ok {
			continue
		}
		f.conns[to].push(b, func(ok bool) {
			switch {
			case f.dead:
			case ok:
				f.f.Acked(ticket)
			default:
				f.f.Failed(ticket)
			}
		})
		return true
	}
	if f.pos == len(f.part.events.all) {
		return false
	}
	if f.pos < f.part.events.trimmed {
		w.killForwarder(f)
		w.newForwarder(f.part)
		return true
	}
	before := f.f.State().Seq()
	m := f.part.events.at(f.pos)
	f.pos++
	v := f.f.Read(m)
	if v == fold.Accepted {
		frame, err := fold.DecodeFrame(m.Body)
		if err != nil {
			w.fail("an accepted frame cannot be read: %v", err)
		}
		w.judged(f.part, v, &frame, before, f.f.State())
	} else {
		w.judged(f.part, v, &fold.Frame{}, before, f.f.State())
	}
	return true
}
