package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/examples/billing/monthly"
)

// serve is the program that becomes a real Pulsar, or a front of the real engine of ClickHouse.
const serve = module + "/internal/testserver/serve"

// cluster is Continuo as processes that meet on a broker, two of each service.
type cluster struct {
	*world
	binary     string
	broker     *process
	clickhouse *process
	services   map[string][2]*process
	http       map[*process]string // URLs
	grpc       map[*process]string // addresses of the gateways
}

// newCluster finds ports and describes the processes; it starts none.
func newCluster(f *fleet, bin, data string) (*world, error) {
	addrs, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	c := &cluster{world: &world{fleet: f}, binary: filepath.Join(bin, "continuo"), services: map[string][2]*process{}, http: map[*process]string{}, grpc: map[*process]string{}}
	for _, name := range []string{"pulsar", "clickhouse"} {
		if err := os.Mkdir(filepath.Join(data, name), 0o755); err != nil {
			return nil, err
		}
	}
	admin := "http://" + addrs[1]
	c.broker = f.add("pulsar", filepath.Join(bin, "serve"), func(ctx context.Context) bool {
		return answers(admin+"/admin/v2/namespaces/public/default")(ctx) && answers(admin+"/admin/v2/brokers/health")(ctx)
	}, "pulsar", "-dir", filepath.Join(data, "pulsar"), "-addr", addrs[0], "-admin-addr", addrs[1])
	c.broker.patience = 2 * time.Minute
	c.clickhouse = f.add("clickhouse", filepath.Join(bin, "serve"), answers("http://"+addrs[2]+"/ping"),
		"clickhouse", "-dir", filepath.Join(data, "clickhouse"), "-addr", addrs[2])
	shared := []string{
		"--pulsar", "pulsar://" + addrs[0], "--pulsar-admin", admin, "--clickhouse", "http://" + addrs[2] + "/continuo", "--objects", filepath.Join(data, "objects"),
	}
	for _, role := range []string{"engine", "scheduler", "projector", "gateway"} {
		if err := c.addService(role, shared); err != nil {
			return nil, err
		}
	}
	gateways := c.services["gateway"]
	c.grpcAddr, c.httpURL = c.grpc[gateways[0]]+","+c.grpc[gateways[1]], c.http[gateways[0]]
	if err := c.addPeople(bin, data); err != nil {
		return nil, err
	}
	c.victims = []victim{
		{who: c.first("engine"), replaced: c.allPartitionsRun},
		{who: c.working("scheduler"), replaced: c.otherWorks("scheduler")},
		{who: c.working("projector"), replaced: c.otherWorks("projector")},
		{who: c.busyGateway, replaced: c.otherHasWorkers},
		itself(c.flows), itself(c.worker), itself(c.payment), itself(c.clickhouse), itself(c.broker),
	}
	c.statistics = c.compareStatistics
	return c.world, nil
}

// addService describes two processes of a service.
func (c *cluster) addService(role string, shared []string) error {
	addrs, err := freePorts(4)
	if err != nil {
		return err
	}
	var pair [2]*process
	for i := range pair {
		web, rpc := addrs[2*i], addrs[2*i+1]
		args := append([]string{role, "--http-addr", web, "--grpc-addr", rpc}, shared...)
		p := c.add(fmt.Sprintf("%s-%d", role, i+1), c.binary, answers("http://"+web+"/readyz"), args...)
		p.patience = 2 * time.Minute
		pair[i], c.http[p] = p, "http://"+web
		if role == "gateway" {
			c.grpc[p] = rpc
		}
	}
	c.services[role] = pair
	return nil
}

// other is the second of the two processes of a service.
func (c *cluster) other(p *process) *process {
	for _, pair := range c.services {
		switch p {
		case pair[0]:
			return pair[1]
		case pair[1]:
			return pair[0]
		}
	}
	return nil
}

func (c *cluster) first(role string) func(context.Context) (*process, error) {
	return func(context.Context) (*process, error) { return c.services[role][0], nil }
}

// working finds the one of two processes that works while the other stands by.
func (c *cluster) working(role string) func(context.Context) (*process, error) {
	return func(ctx context.Context) (found *process, err error) {
		err = until(ctx, 20*time.Second, "a "+role+" that works", func(ctx context.Context) bool {
			for _, p := range c.services[role] {
				if c.works(ctx, p, role) {
					found = p
				}
			}
			return found != nil
		})
		return found, err
	}
}

// works reads the readiness of a scheduler or projector: one of two stands by, and says so.
func (c *cluster) works(ctx context.Context, p *process, role string) bool {
	var state struct {
		Components []struct {
			Name   string `json:"name"`
			Detail string `json:"detail"`
		} `json:"components"`
	}
	if err := ask(ctx, http.MethodGet, c.http[p]+"/readyz", nil, &state); err != nil {
		return false
	}
	for _, component := range state.Components {
		if component.Name == role && component.Detail != "stands by" {
			return true
		}
	}
	return false
}

// otherWorks makes the question whether the other process of a service works.
func (c *cluster) otherWorks(role string) func(ctx context.Context, gone *process) bool {
	return func(ctx context.Context, gone *process) bool { return c.works(ctx, c.other(gone), role) }
}

// partitions of the log, where nobody says another number.
const partitions = 16

func (c *cluster) allPartitionsRun(ctx context.Context, gone *process) bool {
	running, err := c.metric(ctx, c.other(gone), "continuo_engine_partitions_running")
	return err == nil && running == partitions
}

// busyGateway is the one that more workers are connected to.
func (c *cluster) busyGateway(ctx context.Context) (busy *process, err error) {
	most := -1.0
	for _, p := range c.services["gateway"] {
		workers, err := c.metric(ctx, p, "continuo_gateway_workers")
		if err != nil {
			return nil, err
		}
		if workers > most {
			busy, most = p, workers
		}
	}
	return busy, nil
}

// otherHasWorkers says whether both workers have gone over to the gateway that is left.
func (c *cluster) otherHasWorkers(ctx context.Context, gone *process) bool {
	workers, err := c.metric(ctx, c.other(gone), "continuo_gateway_workers")
	return err == nil && workers == 2
}

// metric reads one number of a process.
func (c *cluster) metric(ctx context.Context, p *process, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.http[p]+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }() // what is left of it is not wanted
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", p.name, name)
}

// statisticsTime bounds how far ClickHouse may be behind the log when all runs have ended.
const statisticsTime = 30 * time.Second

// compareStatistics asks ClickHouse, through a gateway, what became of the tasks, waits until it has the last of them, prints it,
// and compares the payments with the ledger.
func (c *cluster) compareStatistics(ctx context.Context, out io.Writer, ledger []charge) error {
	began := time.Now()
	want := map[string]int{}
	for _, service := range services {
		want[service] = len(ledger)
	}
	var got map[string]int
	err := until(ctx, statisticsTime, "the statistics", func(ctx context.Context) bool {
		text, err := c.continuo(ctx, "stats", "--since", "0", "--errors", "0", "-o", "json")
		if err != nil {
			return false
		}
		if got, err = doneTasks(text); err != nil {
			return false
		}
		for service, n := range want {
			if got[service] != n {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%w: by service, ClickHouse has %v tasks done, of %d charges in the ledger", err, got, len(ledger))
	}
	took := time.Since(began)
	table, err := c.continuo(ctx, "stats", "--since", "0", "--errors", "5")
	if err != nil {
		return err
	}
	counts, err := c.continuo(ctx, "workflow", "count")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe same from ClickHouse, through a gateway (it had the last task after %.1f s): continuo stats; continuo workflow count\n%s%s",
		took.Seconds(), indented(table), indented(counts))
	fmt.Fprintf(out, "  %-46s %6d\n", "payments in ClickHouse", got["Payment"])
	fmt.Fprintf(out, "  %-46s %6d\n", "charges in the ledger", len(ledger))
	return nil
}

// continuo runs a verb of the command line against the first gateway.
func (c *cluster) continuo(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, c.binary, append(args, "--addr", c.grpc[c.services["gateway"][0]])...)
	var refusal bytes.Buffer
	command.Stderr = &refusal
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("continuo %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(refusal.Bytes()))
	}
	return text, nil
}

// doneTasks reads how many tasks of each service were done in workflows of billing.
func doneTasks(stats []byte) (map[string]int, error) {
	var answer struct {
		Rows []struct {
			Type string `json:"type"`
			Task string `json:"task"`
			Done int    `json:"done"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(stats, &answer); err != nil {
		return nil, err
	}
	done := map[string]int{}
	for _, row := range answer.Rows {
		if row.Type == monthly.Billing.Name() {
			done[serviceOf(row.Task)] += row.Done
		}
	}
	return done, nil
}

func indented(text []byte) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(string(text), "\n"), "\n", "\n  ") + "\n"
}
