// Package chaos kills a real server and real workers under load and checks that nothing was lost and nothing done twice.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos"
	"github.com/continuo-dev/continuo/internal/child"
)

var (
	kills = flag.Int("kills", 150, "number of SIGKILLs")
	over  = flag.Duration("for", 0, "time over which they are spread; half a second for each if not given")
	seed  = flag.Uint64("seed", 0, "draws programs, faults and their moments; 0 draws one")
)

func TestKills(t *testing.T) { //nolint:paralleltest // it needs the machine for itself
	dir, err := os.MkdirTemp("", "continuo-chaos-") //nolint:usetesting // kept when something is found
	if err != nil {
		t.Fatal(err)
	}
	o := chaos.Options{Kills: *kills, For: *over, Seed: *seed, Workers: 4, InFlight: 160, Mailboxes: 4, Dir: dir + "/run", Out: t.Output()}
	if o.For <= 0 {
		o.For = time.Duration(o.Kills) * time.Second / 2
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000_000)
	}
	server, err := child.Build(t.Context(), dir, "./cmd/continuo")
	if err != nil {
		t.Fatal(err)
	}
	o.Start = func(ctx context.Context) (*chaos.System, error) { return chaos.Embedded(ctx, server, o.Dir) }
	if o.Worker, err = child.Build(t.Context(), dir, "./cmd/continuo-chaos"); err != nil {
		t.Fatal(err)
	}
	again := o.Again()
	report, err := chaos.Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\nkept: %s\nagain: %s", err, dir, again)
	}
	err = chaos.Print(os.Stdout, report, o.Dir, again)
	fmt.Println(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
