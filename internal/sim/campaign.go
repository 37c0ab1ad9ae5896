package sim

import (
	"sync"
	"sync/atomic"
	"time"
)

// Regressions are seeds that have shown a bug once. They run first. A seed shows what it showed only as long as the
// simulator makes the same choices, so every bug has a test of its own, too.
var Regressions = []uint64{182, 192, 266, 2207, 2298, 10274, 20430, 30571, 40132, 1387, 1256, 1072, 1605, 5050}

// Campaign is many seeds.
type Campaign struct {
	// From is the first seed and Seeds how many there are; 0 means as many as fit into For.
	From, Seeds uint64
	// For bounds the time; seeds that have begun are finished. 0 means no bound.
	For time.Duration
	// Parallel is how many seeds run at a time; 0 means one.
	Parallel int
	// Options of every seed.
	Options Options
	// Each, if set, is called with every result, one at a time.
	Each func(Result)
}

// Summary is what came out of a campaign.
type Summary struct {
	Seeds, Steps, Commits, Runs, Failed int
	// Batches are those of all seeds.
	Batches Batches
	// FailedSeeds are their numbers, in the order in which they ended.
	FailedSeeds []uint64
	// First is the failed seed with the lowest number.
	First *Result
	// Hash is over the hashes of all seeds in their order; 0 unless it was asked for and all of them ran.
	Hash uint64
}

// Run runs the seeds until there are no more, the time is over, or 20 have failed.
func (c Campaign) Run() Summary {
	var (
		mu     sync.Mutex
		sum    Summary
		next   atomic.Uint64
		hashes = map[uint64]uint64{}
		all    sync.WaitGroup
	)
	ends := time.Now().Add(c.For) //nolint:forbidigo // a campaign is bounded in real time
	over := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return sum.Failed >= maxFailed || c.For > 0 && time.Now().After(ends) //nolint:forbidigo // as above
	}
	for range max(c.Parallel, 1) {
		all.Go(func() {
			threads := newThreads()
			defer threads.Close()
			for !over() {
				n := next.Add(1) - 1
				if c.Seeds > 0 && n >= c.Seeds {
					return
				}
				r := run(c.From+n, c.Options, threads)
				mu.Lock()
				sum.add(r)
				hashes[n] = r.Hash
				if c.Each != nil {
					c.Each(r)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if c.Options.Hash && c.Seeds > 0 && uint64(len(hashes)) == c.Seeds {
		w := world{hash: 14695981039346656037}
		for n := range c.Seeds {
			w.mix(hashes[n])
		}
		sum.Hash = w.hash
	}
	return sum
}

// maxFailed ends a campaign.
const maxFailed = 20

func (s *Summary) add(r Result) {
	s.Seeds++
	s.Steps += r.Steps
	s.Commits += r.Commits
	s.Runs += r.Runs
	for i, n := range r.Batches {
		s.Batches[i] += n
	}
	if !r.Failed() {
		return
	}
	s.Failed++
	s.FailedSeeds = append(s.FailedSeeds, r.Seed)
	if s.First == nil || r.Seed < s.First.Seed {
		s.First = &r
	}
}
