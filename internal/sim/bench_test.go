package sim_test

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/sim"
)

// BenchmarkSeeds tells what a record costs, checks included.
func BenchmarkSeeds(b *testing.B) {
	steps, seed := 0, uint64(0)
	for b.Loop() {
		steps += sim.Run(seed, sim.Options{}).Steps
		seed++
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "records/s")
}
