package sim_test

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/sim"
)

// TestSeeds runs a few seeds.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := sim.Run(seed, sim.Options{})
		t.Logf("seed %d: %d records, %d runs, %d ended, virtual %v, faults %s %v", seed, r.Steps, r.Runs, r.Ended, r.Virtual, r.Faults, r.Happened)
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s", seed, v)
		}
	}
}

// TestSameSeedSameHash: a seed is one run, to the byte.
func TestSameSeedSameHash(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		a, b := sim.Run(seed, sim.Options{Hash: true}), sim.Run(seed, sim.Options{Hash: true})
		if a.Hash == 0 || a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d: hash %x with %d records, then %x with %d", seed, a.Hash, a.Steps, b.Hash, b.Steps)
		}
	}
}
