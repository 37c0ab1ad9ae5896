package cluster

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
	kills    = flag.Int("kills", 10, "number of SIGKILLs of services and workers")
	stops    = flag.Int("stops", 5, "number of SIGSTOPs of services, each so long that others take over")
	restarts = flag.Int("restarts", 2, "number of restarts of the broker, by SIGTERM and SIGKILL in turn")
	away     = flag.Duration("away", 20*time.Second, "how long ClickHouse is away")
	over     = flag.Duration("for", 0, "time over which all of it is spread; 3 s for each of them if not given")
	seed     = flag.Uint64("seed", 0, "draws programs, faults and their moments; 0 draws one")
)

// system is what campaigns kill: two of each service, the broker and ClickHouse.
func (s *suite) system(ctx context.Context, t *testing.T) *chaos.System {
	t.Helper()
	made := &chaos.System{}
	for _, role := range []string{"engine", "scheduler", "projector", "gateway"} {
		for n := 1; n <= 2; n++ {
			s.start(ctx, t, role, n)
			name := fmt.Sprintf("%s-%d", role, n)
			made.Parts = append(made.Parts, chaos.PartOf(name, s.processes[name]))
		}
	}
	made.Addr = s.processes["gateway-1"].GRPCAddr + "," + s.processes["gateway-2"].GRPCAddr
	made.Parts = append(made.Parts,
		chaos.Part{Name: "pulsar", Broker: true, Process: s.broker.Process, Restart: s.broker.Restart, Stop: s.broker.Stop},
		chaos.Part{Name: "clickhouse", ReadStore: true, Process: s.store.Process, Restart: s.store.Restart, Stop: s.store.Stop})
	return made
}

// TestKills runs random programs and mailboxes while processes of all kinds are killed, stopped until others have taken over,
// and restarted, several at a time. Then books are compared: what clients were told, what workers executed, every history,
// and what the read model shows.
func TestKills(t *testing.T) { //nolint:paralleltest // it needs the machine for itself
	dir, err := os.MkdirTemp("", "continuo-cluster-") //nolint:usetesting // kept when something is found
	if err != nil {
		t.Fatal(err)
	}
	o := chaos.Options{
		Kills: *kills, Stops: *stops, Restarts: *restarts, Away: *away, For: *over, Seed: *seed, Workers: 3, InFlight: 48, Mailboxes: 3,
		Dir: dir + "/run", Out: t.Output(), Calm: 3 * time.Minute,
	}
	if o.For <= 0 {
		o.For = time.Duration(o.Kills+o.Stops+o.Restarts) * 3 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000_000)
	}
	if o.Worker, err = child.Build(t.Context(), dir, "./cmd/continuo-chaos"); err != nil {
		t.Fatal(err)
	}
	s := newSuite(t)
	o.Start = func(ctx context.Context) (*chaos.System, error) { return s.system(ctx, t), nil }
	again := fmt.Sprintf("go test ./test/cluster -run TestKills -v -kills %d -stops %d -restarts %d -away %v -for %v -seed %d", o.Kills, o.Stops, o.Restarts, o.Away, o.For, o.Seed)
	report, err := chaos.Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\nkept: %s\nagain: %s", err, dir, again)
	}
	err = chaos.Print(os.Stdout, report, o.Dir, again)
	fmt.Println("cluster", report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
