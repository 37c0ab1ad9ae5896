package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/continuo-dev/continuo"

// build makes the binaries of the demo in dir, the server without CGO as it ships. It must run inside the module.
func build(ctx context.Context, dir string) error {
	command := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		module+"/cmd/continuo",
		module+"/examples/billing/cmd/workflow-worker",
		module+"/examples/billing/cmd/service-worker",
		module+"/examples/billing/httpservices")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// world is the server, four services and two workers, each a process of its own.
type world struct {
	*fleet
	grpcAddr, httpURL                                           string
	server, consumption, payment, invoice, email, flows, worker *process
	urls                                                        map[*process]string // of the four services
}

// newWorld finds ports and describes the processes; it starts none.
func newWorld(f *fleet, bin, data string) (*world, error) {
	ports := make([]string, 6)
	for i := range ports {
		addr, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = addr
	}
	w := &world{fleet: f, grpcAddr: ports[0], httpURL: "http://" + ports[1], urls: map[*process]string{}}
	w.server = f.add("server", filepath.Join(bin, "continuo"), answers(w.httpURL+"/readyz"),
		"serve", "--data", filepath.Join(data, "continuo"), "--grpc-addr", ports[0], "--http-addr", ports[1])
	service := func(role, addr string) *process {
		url := "http://" + addr
		p := f.add(role+"-service", filepath.Join(bin, "httpservices"), answers(url+"/healthz"),
			"--role", role, "--addr", addr, "--db", filepath.Join(data, role+".db"))
		w.urls[p] = url
		return p
	}
	w.consumption = service("consumption", ports[2])
	w.payment = service("payment", ports[3])
	w.invoice = service("invoice", ports[4])
	w.email = service("email", ports[5])
	w.flows = f.add("workflow-worker", filepath.Join(bin, "workflow-worker"), nil, "--server", w.grpcAddr)
	w.worker = f.add("service-worker", filepath.Join(bin, "service-worker"), nil, "--server", w.grpcAddr,
		"--consumption", w.urls[w.consumption], "--payment", w.urls[w.payment], "--invoice", w.urls[w.invoice], "--email", w.urls[w.email])
	return w, nil
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
