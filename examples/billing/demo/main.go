// Command demo performs monthly billing under fire and checks the result: it starts the server, four services and two
// workers as processes of their own, subscribes customers, kills process after process with SIGKILL, unsubscribes, and
// compares the payment service's ledger with its own book. It exits with 0 only if both agree.
//
// With --pulsar the server is a cluster: two processes of each service over a real Pulsar and the real engine of ClickHouse, which
// are killed, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

// limit bounds the demo after the build, and clusterLimit with --pulsar.
const (
	limit        = time.Minute
	clusterLimit = 10 * time.Minute
)

// clusterMonth is a month with --pulsar: that many processes take longer to start again.
const clusterMonth = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s := scenario{}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.IntVar(&s.customers, "customers", 20, "how many customers subscribe")
	flags.IntVar(&s.months, "months", 24, "how many months they stay, at least")
	flags.DurationVar(&s.month, "month", 200*time.Millisecond, "how long a month lasts; 1s with --pulsar unless given")
	flags.IntVar(&s.failPercent, "fail", 5, "how many of 100 calls to the services fail")
	flags.BoolVar(&s.cluster, "pulsar", false, "Continuo is two processes of each service over a real Pulsar and ClickHouse (get them by make testdeps)")
	keep := flags.Bool("keep", false, "keep data and logs although all is well")
	if err := flags.Parse(args); err != nil {
		return err
	}
	limit := limit
	if s.cluster {
		limit = clusterLimit
		given := false
		flags.Visit(func(f *flag.Flag) { given = given || f.Name == "month" })
		if !given {
			s.month = clusterMonth
		}
	}
	if s.customers < 1 || s.customers > 1000 || s.months <= notice || s.month <= 0 {
		return fmt.Errorf("--customers must be 1 to 1000, --months more than %d and --month positive", notice)
	}
	dir, err := os.MkdirTemp("", "continuo-billing-")
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case errors.Is(err, context.Canceled):
			err = errors.Join(errors.New("interrupted"), os.RemoveAll(dir))
		case err != nil:
			err = fmt.Errorf("%w\nData and logs of all processes are in %s", err, dir)
		case *keep:
			fmt.Fprintf(out, "\nData and logs of all processes are in %s\n", dir)
		default:
			err = os.RemoveAll(dir)
		}
	}()
	fmt.Fprintln(out, "Building …")
	bin := filepath.Join(dir, "bin")
	var others []string
	if s.cluster {
		others = []string{serve}
	}
	if err := build(ctx, bin, others...); err != nil {
		return reason(ctx, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the demo was not done after %v", limit))
	defer cancel()
	return perform(ctx, s, dir, bin, out)
}

// perform plays the scenario with children that live no longer than this call, and reports.
func perform(ctx context.Context, s scenario, dir, bin string, out io.Writer) (err error) {
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	children := newFleet(dir, lost)
	defer func() {
		for _, name := range children.stop(10 * time.Second) {
			err = errors.Join(err, fmt.Errorf("%s did not end within 10 s after SIGTERM and was killed", name))
		}
	}()
	describe := newWorld
	if s.cluster {
		describe = newCluster
	}
	w, err := describe(children, bin, dir)
	if err != nil {
		return err
	}
	if err := w.startAll(ctx); err != nil {
		return reason(ctx, err)
	}
	c, err := client.Dial(w.grpcAddr, client.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	p := &play{scenario: s, world: w, client: c, out: out}
	statements, err := p.perform(ctx)
	if err != nil {
		return reason(ctx, err)
	}
	if err := p.report(ctx, statements); err != nil {
		return reason(ctx, err)
	}
	return nil
}
