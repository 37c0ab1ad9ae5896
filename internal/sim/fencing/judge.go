package fencing

import (
	"bytes"
	"slices"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// judged looks at what one reader made of one message: nobody halts, records come without gaps, and everybody accepts the
// same at the same number.
func (w *world) judged(p *part, v fold.Verdict, f *fold.Frame, before events.Seq, s *fold.State) {
	switch v {
	case fold.Halted:
		w.fail("a reader halts: %v", s.Halt())
	case fold.Accepted:
		if f.First != before+1 {
			w.fail("partition %d: record %d was accepted after %d", p.id, f.First, before)
		}
		w.accepted(p, f)
	case fold.Duplicate:
		w.Duplicates++
	case fold.Stale:
		w.Stale++
	case fold.Late:
		w.Gaps++
	case fold.Opened, fold.Foreign:
	}
}

func (w *world) accepted(p *part, f *fold.Frame) {
	b := fold.AppendFrame(nil, f)
	for i := range int(f.Count) {
		seq, sum := f.First+events.Seq(i), hash(b, i)
		if known, ok := p.truth[seq]; ok && known != sum {
			w.fail("partition %d: two readers accept different records %d", p.id, seq)
		} else if !ok {
			p.truth[seq] = sum
			w.Accepted++
		}
	}
}

// confirm takes down what an owner shows to others.
func (w *world) confirm(p *part, seq events.Seq, sum uint64) {
	if known, ok := p.confirmed[seq]; ok && known != sum {
		w.fail("partition %d: two owners have confirmed different records %d", p.id, seq)
	}
	p.confirmed[seq] = sum
	w.Confirmed++
}

// judge reads the whole logs and compares.
func (w *world) judge() {
	var out, in [partitions][partitions]uint64
	times := map[uint64]int{}
	for _, p := range w.parts {
		s := fold.NewState(p.id)
		for i := range p.events.all {
			before := s.Seq()
			v, f := s.Read(p.events.at(i))
			w.judged(p, v, &f, before, s)
			if v != fold.Accepted {
				continue
			}
			for _, c := range f.Sent {
				out[p.id][c.To]++
			}
			for _, d := range deeds(&f) {
				switch {
				case d[0] == done && d[1] == 1:
					in[d[2]][p.id]++
				case d[0] == done:
					times[d.id()]++
				}
			}
		}
		w.compare(p, s)
	}
	for id := range w.issued {
		if times[id] != 1 {
			w.fail("client's command %d took effect %d times", id, times[id])
		}
	}
	if in != out {
		w.fail("commands between partitions: given out %v, handled %v", out, in)
	}
}

// compare holds one full reading of a partition against what was told and what others read.
func (w *world) compare(p *part, s *fold.State) {
	for seq, sum := range p.confirmed {
		if p.truth[seq] != sum || seq > s.Seq() {
			w.fail("partition %d: record %d was confirmed and is another one now", p.id, seq)
		}
	}
	if len(p.truth) != int(s.Seq()) {
		w.fail("partition %d: readers have accepted %d records and the log has %d", p.id, len(p.truth), s.Seq())
	}
	last := p.owners[len(p.owners)-1]
	if !last.w.Active() || last.w.InFlight() > 0 || last.cpos != len(p.commands.all) {
		w.fail("partition %d: the last owner has not finished: %v, read %d of %d commands", p.id, last.w.Err(), last.cpos, len(p.commands.all))
	}
	full := fold.AppendCheckpoint(nil, s, nil)
	states := []*fold.State{last.w.State()}
	for _, r := range p.readers {
		states = append(states, r.state)
	}
	for _, other := range states {
		if !bytes.Equal(full, fold.AppendCheckpoint(nil, other, nil)) {
			w.fail("partition %d: a reader that began in the middle knows something else at the end", p.id)
		}
	}
}

// plant takes something away from copies of a partition's logs. Each time, a reader must notice.
func (w *world) plant() {
	p := w.parts[w.r.IntN(partitions)]
	if len(p.events.all) < 3 {
		return
	}
	for range 3 {
		w.loseFrame(p, w.r.IntN(len(p.events.all)))
	}
	w.loseTail(p)
	w.damage(p)
	w.loseCommand(p)
}

func (w *world) planted(what string, halted bool, p *part) {
	w.Planted++
	if halted {
		w.Noticed++
		return
	}
	w.fail("partition %d: nobody notices %s", p.id, what)
}

// loseFrame removes all copies of an accepted frame that a later one knows of.
func (w *world) loseFrame(p *part, i int) {
	s := fold.NewState(p.id)
	for j := range i {
		s.Read(p.events.at(j))
	}
	v, f := s.Read(p.events.at(i))
	if v != fold.Accepted && v != fold.Opened {
		return
	}
	known := func(later *fold.Frame) bool {
		if v == fold.Opened {
			return !later.Open && later.Epoch == f.Epoch && later.Owner == f.Owner
		}
		return later.Confirmed >= f.Last()
	}
	if !slices.ContainsFunc(p.events.all[i+1:], func(b []byte) bool {
		later, err := fold.DecodeFrame(b)
		return err == nil && known(&later)
	}) {
		return
	}
	s = fold.NewState(p.id)
	for j, b := range p.events.all {
		if !bytes.Equal(b, p.events.all[i]) {
			s.Read(message(j, b))
		}
	}
	w.planted("the loss of a frame that was "+v.String(), s.Halt() != nil, p)
}

// loseTail cuts the log behind a reader's back, and lets another owner go on with what is left.
func (w *world) loseTail(p *part) {
	full := fold.NewState(p.id)
	for i := range p.events.all {
		full.Read(p.events.at(i))
	}
	cut := 1 + w.r.IntN(len(p.events.all)-1)
	owner := fold.NewWriter(fold.NewState(p.id), 1)
	for i := range cut {
		owner.Read(p.events.at(i))
	}
	if owner.State().Seq() == full.Seq() {
		return
	}
	opening, err := owner.Open(identity)
	if err != nil {
		w.fail("%v", err)
		return
	}
	at := len(p.events.all)
	owner.Read(message(at, opening))
	b, err := owner.Append(fold.Step{Records: []*events.Record{{Header: events.Header{Partition: p.id, Seq: owner.Next(), Schema: events.Schema}}}})
	if err != nil {
		w.fail("%v", err)
		return
	}
	full.Read(message(at, opening))
	full.Read(message(at+1, b))
	w.planted("that the log has lost its end", full.Halt() != nil, p)
}

// damage changes one bit of one frame.
func (w *world) damage(p *part) {
	i := w.r.IntN(len(p.events.all))
	b := slices.Clone(p.events.all[i])
	b[w.r.IntN(len(b))] ^= 1 << w.r.IntN(8)
	s := fold.NewState(p.id)
	for j := range i {
		s.Read(p.events.at(j))
	}
	s.Read(message(i, b))
	w.planted("a damaged frame", s.Halt() != nil, p)
}

// loseCommand removes all copies of a forwarded command that a later one knows to be in the log.
func (w *world) loseCommand(p *part) {
	i := w.r.IntN(len(p.commands.all) + 1)
	for ; i < len(p.commands.all); i++ {
		if c, err := fold.DecodeCommand(p.commands.all[i]); err == nil && c.Forwarded {
			break
		}
	}
	if i >= len(p.commands.all) {
		return
	}
	lost, _ := fold.DecodeCommand(p.commands.all[i])
	owner := fold.NewWriter(fold.NewState(p.id), 1)
	opening, err := owner.Open(identity)
	if err != nil {
		w.fail("%v", err)
		return
	}
	owner.Read(message(0, opening))
	known, missing := false, false
	for j, b := range p.commands.all {
		c, err := fold.DecodeCommand(b)
		if err != nil || c.Forwarded && c.Source == lost.Source && c.N == lost.N {
			continue
		}
		known = known || c.Forwarded && c.Source == lost.Source && c.Confirmed >= lost.N
		_, what, err := owner.Take(message(j, b))
		missing = missing || what == fold.Missing || err != nil
	}
	if known {
		w.planted("the loss of a forwarded command", missing, p)
	}
}
