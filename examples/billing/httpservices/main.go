// Command httpservices is the world that monthly billing finds: four small HTTP APIs that exist already and know
// nothing of workflows, of Continuo or of each other. One process plays one of them:
//
//	httpservices --role consumption|payment|invoice|email --addr 127.0.0.1:7501 --db FILE
//
// Each keeps its data in its own SQLite file and commits before it answers, so kill -9 loses nothing that was
// answered. Each can be told to fail, hang or be down: POST /faults {"fail_percent":5,"hang_percent":0,"down":false}.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// role is one of the four services: the tables it needs, the API it serves, and what it shows to its operator.
type role struct {
	schema   string
	api      func(*http.ServeMux, *store)
	operator func(*http.ServeMux, *store) // nil: nothing beside what every role shows
}

var roles = map[string]role{
	"consumption": {schema: consumptionSchema, api: consumptionAPI},
	"payment":     {schema: paymentSchema, api: paymentAPI, operator: paymentLedger},
	"invoice":     {schema: invoiceSchema, api: invoiceAPI},
	"email":       {schema: emailSchema, api: emailAPI},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "httpservices:", err)
		os.Exit(1)
	}
}

// run serves one role until ctx ends, then lets the requests in flight finish.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("httpservices", flag.ContinueOnError)
	name := flags.String("role", "", "which service to be: "+strings.Join(roleNames(), ", "))
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	file := flags.String("db", "", "SQLite `file` of this service (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, ok := roles[*name]
	if !ok {
		return fmt.Errorf("no role %q: choose one of %s with --role", *name, strings.Join(roleNames(), ", "))
	}
	if *file == "" {
		return errors.New("no database: name its file with --db")
	}
	db, err := openStore(ctx, *file, r.schema)
	if err != nil {
		return err
	}
	defer func() { _ = db.close() }() // every answer was committed before it was given: nothing is lost here
	handler, err := newHandler(ctx, r, db)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("service", *name))
	log.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("addr", listener.Addr().String()))
	return serve(ctx, listener, handler)
}

// newHandler is the whole HTTP surface of a role: its own API behind the faults, and the doors of the operator
// (health, faults, statistics), which faults do not touch.
func newHandler(ctx context.Context, r role, db *store) (http.Handler, error) {
	faults, err := loadFaults(ctx, db)
	if err != nil {
		return nil, err
	}
	api := http.NewServeMux()
	r.api(api, db)
	mux := http.NewServeMux()
	mux.Handle("/", faults.around(api))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /faults", faults.get)
	mux.HandleFunc("POST /faults", faults.set)
	mux.HandleFunc("GET /stats", faults.stats)
	if r.operator != nil {
		r.operator(mux, db)
	}
	return http.MaxBytesHandler(mux, 64<<10), nil
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		// Requests that hang on purpose end with ctx, so that they cannot hold the shutdown up.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return server.Shutdown(drain)
	}
}

func roleNames() []string {
	names := make([]string, 0, len(roles))
	for name := range roles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
