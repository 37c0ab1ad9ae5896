package fencing

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A command or record is 16 bytes, which for a record are its run id, so that readers find them in the prefix:
// what was done 1, forwarded 1, source 1, hops left 1, id or number 8, zero 4.
type deed [16]byte

const (
	done     = 1 // it took effect
	answered = 2 // a repetition of a client's command: no effect, but an answer
)

func (d deed) id() uint64 { return binary.BigEndian.Uint64(d[4:]) }

func makeDeed(forwarded bool, source events.Partition, hops byte, id uint64) deed {
	d := deed{2: byte(source), 3: hops}
	if forwarded {
		d[1] = 1
	}
	binary.BigEndian.PutUint64(d[4:], id)
	return d
}

// checkpoint is what an owner needs to begin in the middle.
type checkpoint struct {
	bytes []byte // nil: none
	seen  uint64 // clients' commands that took effect
	at    int
	in    int
}

// owner is a process that believes, for some time, that a partition is its own.
type owner struct {
	part   *part
	w      *fold.Writer
	pos    int // events read
	seen   uint64
	ahead  uint64 // seen, with appends in flight
	begun  bool   // active, and commands are read from behind In
	cpos   int    // commands read
	opened bool
	conn   conn
	sent   map[events.Seq]uint64 // hashes of own records
	told   events.Seq
	dead   bool
	until  int // asleep
}

func (w *world) newOwner(p *part) *owner {
	o := &owner{part: p, sent: map[events.Seq]uint64{}}
	kept := p.kept[0]
	if w.r.IntN(4) == 0 && p.kept[1].bytes != nil { // the newest one is lost
		kept = p.kept[1]
	}
	state := fold.NewState(p.id)
	if kept.bytes != nil {
		state = w.decode(kept.bytes)
	}
	o.seen, o.pos = kept.seen, kept.at
	o.w = fold.NewWriter(state, events.OwnerID(w.r.Uint64()|1))
	p.owners = append(p.owners, o)
	return o
}

func (w *world) kill(o *owner) {
	o.dead = true
	o.conn.cut(w.r)
}

// step lets an owner do one thing and reports whether it did something.
func (w *world) step(o *owner) bool {
	if o.dead || o.until > w.tick {
		return false
	}
	t := &o.part.events
	early := w.storm && !o.opened && w.r.IntN(20) == 0
	if o.pos < len(t.all) && !early {
		if o.pos < t.trimmed {
			w.kill(o)
			return true
		}
		o.read(w)
		return true
	}
	if !o.opened {
		o.opened = true
		b, err := o.w.Open(identity)
		if err != nil {
			w.fail("an owner cannot open: %v", err)
			return true
		}
		w.Openings++
		o.append(b)
		return true
	}
	return o.w.Active() && o.work(w)
}

func (o *owner) append(b []byte) {
	o.conn.push(b, func(ok bool) {
		if !ok && !o.dead {
			o.w.Fail(errAppend)
		}
	})
}

// read reads one message of the events log.
func (o *owner) read(w *world) {
	before := o.w.State().Seq()
	v, f := o.w.Read(o.part.events.at(o.pos))
	o.pos++
	w.judged(o.part, v, &f, before, o.w.State())
	if v == fold.Accepted {
		for _, d := range deeds(&f) {
			if d[0] == done && d[1] == 0 {
				o.seen |= 1 << d.id()
			}
		}
	}
	if o.w.Err() != nil {
		w.kill(o)
		return
	}
	if o.w.Active() {
		for o.told < o.w.Confirmed() {
			o.told++
			if hash, own := o.sent[o.told]; own {
				w.confirm(o.part, o.told, hash)
			}
		}
	}
}

// work handles a few commands.
func (o *owner) work(w *world) bool {
	if !o.begun {
		o.begun, o.ahead, o.cpos = true, o.seen, after(o.w.State().In())
	}
	c := &o.part.commands
	if o.w.InFlight() >= 5 || o.cpos >= len(c.all) {
		return false
	}
	if o.cpos < c.trimmed {
		w.kill(o)
		return true
	}
	step := fold.Step{}
	for range 1 + w.r.IntN(3) {
		if o.cpos == len(c.all) {
			break
		}
		command, what, err := o.w.Take(c.at(o.cpos))
		o.cpos++
		switch {
		case err != nil || what == fold.Missing:
			w.fail("a command is %v: %v", what, err)
			return true
		case what == fold.Early:
			w.Early++
		case what == fold.Handle:
			step.Consumed++
			o.handle(w, &step, &command)
		}
	}
	b, err := o.w.Append(step)
	if err != nil {
		w.fail("an owner cannot append: %v", err)
	} else if b != nil {
		for i, r := range step.Records {
			o.sent[r.Seq] = hash(b, i)
		}
		o.append(b)
	}
	return true
}

// handle decides one command: one record, and perhaps a command to another partition.
func (o *owner) handle(w *world, step *fold.Step, c *fold.Command) {
	d := deed(c.Body)
	d[0] = done
	if c.Forwarded {
		d = makeDeed(true, c.Source, d[3], c.N)
		d[0] = done
	} else if o.ahead>>d.id()&1 != 0 {
		d[0] = answered
	}
	if d[0] == done && !c.Forwarded {
		o.ahead |= 1 << d.id()
	}
	if d[0] == done && d[3] > 0 {
		to := (o.part.id + 1 + events.Partition(w.r.IntN(partitions-1))) % partitions
		body := makeDeed(true, o.part.id, d[3]-1, 0)
		step.Sent = append(step.Sent, fold.Forward{To: to, Body: body[:]})
	}
	seq := o.w.Next() + events.Seq(len(step.Records))
	step.Records = append(step.Records, &events.Record{Header: events.Header{
		Partition: o.part.id, Epoch: o.w.Epoch(), Owner: o.w.ID(), Seq: seq, Schema: events.Schema, RunID: events.RunID(d),
	}})
}

// save makes a checkpoint of what the owner has read.
func (o *owner) save() checkpoint {
	s := o.w.State()
	return checkpoint{bytes: fold.AppendCheckpoint(nil, s, nil), seen: o.seen, at: after(s.At()), in: after(s.In())}
}

// deeds returns what the records of a frame say.
func deeds(f *fold.Frame) []deed {
	records, err := events.OpenFrame(f.Records)
	if err != nil {
		return nil // it was opened before: a mutant reads what is damaged
	}
	var all []deed
	for r := range records.All() {
		all = append(all, deed(r.RunID))
	}
	return all
}

// hash names the i-th record of a frame's bytes.
func hash(b []byte, i int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	_, _ = h.Write([]byte{byte(i)})
	return h.Sum64()
}
