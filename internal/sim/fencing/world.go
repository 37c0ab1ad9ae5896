package fencing

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	partitions = 3
	clients    = 24 // commands that clients send, at most 64
	ticks      = 700
	hops       = 3 // of one command through partitions
	rounds     = 20_000
)

var (
	identity  = fold.Identity{Cluster: "simulated", Partitions: partitions}
	errAppend = errors.New("the broker refused it")
)

// Counts are what happened in a schedule.
type Counts struct {
	Openings, Accepted, Confirmed  int
	Failed, Repeated, Late         int // appends: failed, sent again, given up and arrived
	Duplicates, Stale, Gaps, Early int // frames and commands that were skipped
	Trimmed, Restarts              int // messages; readers that began from a checkpoint
	Planted, Noticed               int // losses
}

// Add adds the counts of another schedule.
func (c *Counts) Add(d Counts) {
	c.Openings, c.Accepted, c.Confirmed = c.Openings+d.Openings, c.Accepted+d.Accepted, c.Confirmed+d.Confirmed
	c.Failed, c.Repeated, c.Late = c.Failed+d.Failed, c.Repeated+d.Repeated, c.Late+d.Late
	c.Duplicates, c.Stale, c.Gaps, c.Early = c.Duplicates+d.Duplicates, c.Stale+d.Stale, c.Gaps+d.Gaps, c.Early+d.Early
	c.Trimmed, c.Restarts = c.Trimmed+d.Trimmed, c.Restarts+d.Restarts
	c.Planted, c.Noticed = c.Planted+d.Planted, c.Noticed+d.Noticed
}

// part is one partition with everybody who has to do with it.
type part struct {
	id               events.Partition
	events, commands topic
	owners           []*owner
	forwarders       []*forwarder
	readers          []*reader
	kept             [2]checkpoint // of owners, the newest first
	carried          [2]checkpoint // of forwarders

	truth     map[events.Seq]uint64 // what readers accepted, by anybody first
	confirmed map[events.Seq]uint64 // what owners told others
}

type world struct {
	Counts

	r         *rand.Rand
	parts     []*part
	tick      int
	issued    uint64
	storm     bool
	violation string
}

// Run runs one schedule. It returns what was violated, "" if nothing was.
func Run(seed uint64) (Counts, string) {
	w := &world{r: rand.New(rand.NewPCG(seed, 5)), storm: true}
	w.run()
	return w.Counts, w.violation
}

func (w *world) run() {
	defer func() {
		if r := recover(); r != nil {
			w.fail("panic: %v", r)
		}
	}()
	for p := range events.Partition(partitions) {
		p := &part{id: p, truth: map[events.Seq]uint64{}, confirmed: map[events.Seq]uint64{}}
		w.parts = append(w.parts, p)
		w.newOwner(p)
		w.newForwarder(p)
		for range 2 {
			p.readers = append(p.readers, &reader{part: p, state: fold.NewState(p.id)})
		}
	}
	for w.tick = range ticks {
		w.happen()
		if w.violation != "" {
			return
		}
	}
	w.calm()
	if w.violation == "" {
		w.judge()
	}
	if w.violation == "" {
		w.plant()
	}
}

func (w *world) fail(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
	}
}

func pick[T any](r *rand.Rand, list []T) (T, bool) {
	if len(list) == 0 {
		var none T
		return none, false
	}
	return list[r.IntN(len(list))], true
}

// happen lets one thing happen somewhere.
func (w *world) happen() {
	p := w.parts[w.r.IntN(partitions)]
	o, _ := pick(w.r, p.owners)
	f, _ := pick(w.r, p.forwarders)
	switch k := w.r.IntN(100); {
	case k < 38:
		w.step(o)
	case k < 56:
		w.deliver(&o.conn, &p.events)
	case k < 64:
		w.carry(f)
	case k < 76:
		to := w.parts[w.r.IntN(partitions)]
		w.deliver(&f.conns[to.id], &to.commands)
	case k < 84:
		w.follow(p.readers[w.r.IntN(len(p.readers))])
	case k < 92:
		w.ask(p)
	case k < 94:
		w.arrive(&p.events)
		w.arrive(&p.commands)
	default:
		w.strike(p, o, f)
	}
}

// ask lets a client send a command, perhaps more than once.
func (w *world) ask(p *part) {
	if w.issued == clients {
		return
	}
	d := makeDeed(false, 0, hops, w.issued)
	w.issued++
	b := fold.AppendCommand(nil, &fold.Command{Partition: p.id, Body: d[:]})
	p.commands.all = append(p.commands.all, b)
	if w.r.IntN(4) == 0 {
		p.commands.late = append(p.commands.late, b)
	}
}

// strike lets something happen that should not.
func (w *world) strike(p *part, o *owner, f *forwarder) {
	switch w.r.IntN(14) {
	case 0, 1: // the old one is not told
		w.newOwner(p)
	case 2:
		w.kill(o)
		w.newOwner(p)
	case 3, 4:
		o.until = w.tick + w.r.IntN(400)
	case 5:
		w.newForwarder(p)
	case 6:
		w.killForwarder(f)
		w.newForwarder(p)
	case 7, 8:
		if !o.dead && o.w.Active() {
			keep(&p.kept, o.save())
		}
	case 9:
		for _, r := range p.readers {
			keep(&r.kept, r.save())
		}
		w.trim(p)
	case 12: // the link breaks, and the broker says so
		o.w.Fail(errAppend)
		w.kill(o)
	case 13: // the link breaks, and nobody is told
		o.conn.cut(w.r)
	case 10:
		w.restart(p.readers[w.r.IntN(len(p.readers))])
	case 11:
		r := p.readers[w.r.IntN(len(p.readers))]
		keep(&r.kept, r.save())
	}
	live := 0
	for _, o := range p.owners {
		if !o.dead {
			live++
		}
	}
	if live == 0 {
		w.newOwner(p)
	}
}

// keep keeps the two newest checkpoints.
func keep(kept *[2]checkpoint, c checkpoint) {
	if kept[0].bytes == nil || c.at > kept[0].at {
		kept[1], kept[0] = kept[0], c
	}
}

// trim forgets what no kept checkpoint needs.
func (w *world) trim(p *part) {
	least, in := len(p.events.all), len(p.commands.all)
	consider := func(c checkpoint, commands bool) {
		least = min(least, c.at)
		if commands {
			in = min(in, c.in)
		}
	}
	consider(p.kept[1], true)
	consider(p.carried[1], false)
	for _, r := range p.readers {
		consider(r.kept[1], false)
	}
	w.Trimmed += max(0, least-p.events.trimmed) + max(0, in-p.commands.trimmed)
	p.events.trimmed, p.commands.trimmed = max(p.events.trimmed, least), max(p.commands.trimmed, in)
}

// calm kills all but one of each kind and lets them finish.
func (w *world) calm() {
	for _, p := range w.parts {
		for _, o := range p.owners {
			if !o.dead {
				w.kill(o)
			}
		}
		for _, f := range p.forwarders {
			w.killForwarder(f)
		}
		w.newForwarder(p)
	}
	w.storm = false
	idle := 0
	for range rounds {
		if idle == 3 || w.violation != "" {
			return
		}
		w.tick++
		if w.round() {
			idle = 0
		} else {
			idle++
		}
	}
	w.fail("the calm does not end")
}

func (w *world) round() bool {
	busy := false
	for _, p := range w.parts {
		if last := p.owners[len(p.owners)-1]; last.dead {
			w.newOwner(p)
			busy = true
		}
		for _, o := range p.owners {
			busy = busy || !o.conn.empty()
			w.deliver(&o.conn, &p.events)
			busy = w.step(o) || busy
		}
		busy = busy || len(p.events.late)+len(p.commands.late) > 0
		w.arrive(&p.events)
		w.arrive(&p.commands)
		for _, f := range p.forwarders {
			for _, to := range w.parts {
				busy = busy || !f.conns[to.id].empty()
				w.deliver(&f.conns[to.id], &to.commands)
			}
			busy = w.carry(f) || busy
		}
		for _, r := range p.readers {
			busy = w.follow(r) || busy
		}
	}
	return busy
}
