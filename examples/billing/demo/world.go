package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/continuo-dev/continuo"

// build makes the binaries of the demo in dir, and others of the module, the server without CGO as it ships. It must run inside
// the module.
func build(ctx context.Context, dir string, others ...string) error {
	command := exec.CommandContext(ctx, "go", append([]string{
		"build", "-o", dir + string(filepath.Separator),
		module + "/cmd/continuo",
		module + "/examples/billing/cmd/workflow-worker",
		module + "/examples/billing/cmd/service-worker",
		module + "/examples/billing/httpservices",
	}, others...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// world is Continuo, four services and two workers, each a process of its own, and what is to happen to them.
type world struct {
	*fleet
	grpcAddr                                            string // of the gateways, separated by commas
	httpURL                                             string
	consumption, payment, invoice, email, flows, worker *process
	urls                                                map[*process]string // of the four services
	victims                                             []victim            // in the order in which they are killed
	statistics                                          func(ctx context.Context, out io.Writer, ledger []charge) error
}

// victim is who is killed.
type victim struct {
	who func(ctx context.Context) (*process, error)
	// replaced says whether others do the work of the one who is gone; nil when nobody else can.
	replaced func(ctx context.Context, gone *process) bool
}

// itself makes a victim of a process that nobody replaces.
func itself(p *process) victim {
	return victim{who: func(context.Context) (*process, error) { return p, nil }}
}

// newWorld finds ports and describes the processes with Continuo as one of them; it starts none.
func newWorld(f *fleet, bin, data string) (*world, error) {
	addrs, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	w := &world{fleet: f, grpcAddr: addrs[0], httpURL: "http://" + addrs[1]}
	server := f.add("server", filepath.Join(bin, "continuo"), answers(w.httpURL+"/readyz"),
		"serve", "--data", filepath.Join(data, "continuo"), "--grpc-addr", addrs[0], "--http-addr", addrs[1])
	if err := w.addPeople(bin, data); err != nil {
		return nil, err
	}
	w.victims = []victim{itself(server), itself(w.flows), itself(w.worker), itself(w.payment)}
	return w, nil
}

// addPeople describes those who have Continuo pilot them: services and workers.
func (w *world) addPeople(bin, data string) error {
	addrs, err := freePorts(4)
	if err != nil {
		return err
	}
	w.urls = map[*process]string{}
	service := func(role, addr string) *process {
		url := "http://" + addr
		p := w.add(role+"-service", filepath.Join(bin, "httpservices"), answers(url+"/healthz"),
			"--role", role, "--addr", addr, "--db", filepath.Join(data, role+".db"))
		w.urls[p] = url
		return p
	}
	w.consumption = service("consumption", addrs[0])
	w.payment = service("payment", addrs[1])
	w.invoice = service("invoice", addrs[2])
	w.email = service("email", addrs[3])
	w.flows = w.add("workflow-worker", filepath.Join(bin, "workflow-worker"), nil, "--server", w.grpcAddr)
	w.worker = w.add("service-worker", filepath.Join(bin, "service-worker"), nil, "--server", w.grpcAddr,
		"--consumption", w.urls[w.consumption], "--payment", w.urls[w.payment], "--invoice", w.urls[w.invoice], "--email", w.urls[w.email])
	return nil
}

// startAll starts every process, each when the one before is ready.
func (w *world) startAll(ctx context.Context) error {
	for _, p := range w.all {
		if err := w.start(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// failing tells all services to fail that many of 100 calls.
func (w *world) failing(ctx context.Context, percent int) error {
	for _, url := range w.urls {
		if err := ask(ctx, http.MethodPost, url+"/faults", map[string]int{"fail_percent": percent}, nil); err != nil {
			return err
		}
	}
	return nil
}

// ledger reads the charges that the payment service made after the given one.
func (w *world) ledger(ctx context.Context, after int64) ([]charge, error) {
	var all []charge
	for {
		var page struct {
			Charges []charge `json:"charges"`
		}
		if err := ask(ctx, http.MethodGet, fmt.Sprintf("%s/ledger?after=%d", w.urls[w.payment], after), nil, &page); err != nil {
			return nil, err
		}
		if len(page.Charges) == 0 {
			return all, nil
		}
		all = append(all, page.Charges...)
		after = all[len(all)-1].ID
	}
}

// amount asks the consumption service what a month costs, as the book of the driver has it.
func (w *world) amount(ctx context.Context, b bill) (int, error) {
	var usage struct {
		AmountCents int `json:"amount_cents"`
	}
	err := ask(ctx, http.MethodGet, fmt.Sprintf("%s/customers/%s/usage/%d", w.urls[w.consumption], b.customer, b.month), nil, &usage)
	return usage.AmountCents, err
}
