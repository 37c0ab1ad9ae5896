package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what a fault strikes.
type kind int

const (
	onService kind = iota // of the system
	onWorker
	onBroker
	onReadStore
)

// place is one process among those of its kind, which others take the place of.
type place struct {
	kind kind
	n    int
}

// fault is a kill or a pause that is to come.
type fault struct {
	at time.Duration // since the beginning of the storm
	on place
	// pause is the length of a pause; 0 means that it is an end.
	pause time.Duration
	// again kills a service once more, this long after its start, most often before it has recovered.
	again time.Duration
	// rest is how long a process stays away.
	rest time.Duration
	// inOrder ends a process with SIGTERM.
	inOrder bool
}

// Lengths of pauses. A long one is longer than the time that a worker has for an activation.
const (
	longPause  = 11 * time.Second
	shortPause = 2 * time.Second
)

// planned is how many faults there are, and how many processes of each kind.
type planned struct {
	kills, stops, restarts int
	away                   time.Duration
	counts                 [onReadStore + 1]int
	over                   time.Duration
}

func planOf(o *Options, s *System) planned {
	p := planned{kills: o.Kills, stops: o.Stops, restarts: o.Restarts, away: o.Away, over: o.For}
	p.counts[onWorker] = o.Workers
	for _, one := range s.Parts {
		p.counts[one.kind()]++
	}
	return p
}

// plan draws faults: kills of services and workers, and for every six of them a short pause; stops, pauses of services so long
// that others take over; restarts of a broker, in order or not; one time without the read store. They are in the order in which
// they are due.
func plan(seed uint64, p planned) []fault {
	r := rand.New(rand.NewPCG(seed, 1))
	moment := func() time.Duration { return time.Duration(r.Int64N(int64(p.over))) }
	one := func(k kind) place {
		if p.counts[k] < 2 {
			return place{kind: k}
		}
		return place{k, r.IntN(p.counts[k])}
	}
	var faults []fault
	for done := 0; done < p.kills; done++ {
		f := fault{at: moment()}
		switch n := r.IntN(20); {
		case n < 5 || p.counts[onWorker] == 0:
			f.on = one(onService)
		case n < 6 && done+1 < p.kills:
			f.on, f.again = one(onService), time.Duration(1+r.IntN(250))*time.Millisecond
			done++
		case p.counts[onBroker] > 0 && n < 16: // a cluster has many services
			f.on = one(onService)
		default:
			f.on, f.rest = one(onWorker), time.Duration(r.IntN(300))*time.Millisecond
		}
		faults = append(faults, f)
	}
	for range p.kills / 6 {
		f := fault{at: moment(), on: one(onService), pause: time.Duration(50+r.IntN(1500)) * time.Millisecond}
		if p.counts[onWorker] > 0 && r.IntN(5) > 0 {
			f.on, f.pause = one(onWorker), time.Duration(50+r.Int64N(int64(shortPause/time.Millisecond)))*time.Millisecond
			if r.IntN(12) == 0 {
				f.pause = longPause
			}
		}
		faults = append(faults, f)
	}
	for range p.stops {
		faults = append(faults, fault{at: moment(), on: one(onService), pause: 4*time.Second + time.Duration(r.IntN(4000))*time.Millisecond})
	}
	for i := range p.restarts {
		// Evenly, so that one does not begin while the one before goes on.
		at := p.over * time.Duration(2*i+1) / time.Duration(2*p.restarts)
		faults = append(faults, fault{at: at, on: one(onBroker), inOrder: i%2 == 0})
	}
	if p.away > 0 {
		faults = append(faults, fault{at: p.over / 4, on: one(onReadStore), rest: p.away})
	}
	slices.SortFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return faults
}
