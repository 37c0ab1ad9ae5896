// Command continuo-chaos kills a server and its workers at random moments under load and checks that nothing was lost and
// nothing done twice. It is a test tool and not part of the program that users run.
//
//	go run ./cmd/continuo-chaos -kills 150 -for 75s -seed 1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos"
	"github.com/continuo-dev/continuo/internal/child"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command, args := storm, os.Args[1:]
	if len(args) > 0 && args[0] == "worker" {
		command, args = work, args[1:]
	}
	if err := command(ctx, args, os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "continuo-chaos:", err)
		}
		os.Exit(1)
	}
}

// work is a worker process; storm starts them.
func work(ctx context.Context, args []string, _ io.Writer) error {
	flags := flag.NewFlagSet("continuo-chaos worker", flag.ContinueOnError)
	server := flags.String("server", "", "gRPC `address` of the server")
	name := flags.String("name", "", "`name` of this process in the ledger")
	executions := flags.String("executions", "", "`directory` to write executions to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("worker", *name))
	return chaos.Work(ctx, *server, *name, *executions, log)
}

func storm(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("continuo-chaos", flag.ContinueOnError)
	o := chaos.Options{Out: stdout}
	flags.IntVar(&o.Kills, "kills", 150, "number of SIGKILLs")
	flags.DurationVar(&o.For, "for", 0, "`time` over which they are spread; half a second for each if not given")
	flags.Uint64Var(&o.Seed, "seed", 0, "draws programs, faults and their moments; 0 draws one")
	flags.IntVar(&o.Workers, "workers", 4, "number of worker processes")
	flags.IntVar(&o.InFlight, "inflight", 160, "runs open at a time")
	flags.IntVar(&o.Mailboxes, "mailboxes", 4, "workflow ids that many clients steer at once")
	flags.DurationVar(&o.Calm, "calm", 0, "`time` after the storm in which everything has to end; 90 s if not given")
	flags.DurationVar(&o.Search, "search", 0, "`time` for the linearizability check; 30 s if not given")
	flags.StringVar(&o.Dir, "dir", "", "`directory` for data, logs and ledger; a new one below the temporary directory if not given")
	server := flags.String("server", "", "`executable` of the server; built if not given")
	keep := flags.Bool("keep", false, "keep the directory of a run without violations")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.For <= 0 {
		o.For = time.Duration(o.Kills) * time.Second / 2
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano() % 1_000_000_000)
	}
	var err error
	if o.Dir == "" {
		o.Dir, err = os.MkdirTemp("", "continuo-chaos-")
	}
	if err == nil {
		o.Worker, err = os.Executable()
	}
	if err == nil && *server == "" {
		*server, err = child.Build(ctx, filepath.Join(o.Dir, "bin"), "./cmd/continuo")
	}
	if err != nil {
		return err
	}
	o.Start = func(ctx context.Context) (*chaos.System, error) { return chaos.Embedded(ctx, *server, o.Dir) }
	again := o.Again()
	fmt.Fprintln(stdout, "chaos:", again)
	report, err := chaos.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("%w\nkept: %s\nagain: %s", err, o.Dir, again)
	}
	err = chaos.Print(stdout, report, o.Dir, again)
	if err == nil && !*keep {
		err = os.RemoveAll(o.Dir)
	}
	fmt.Fprintln(stdout, report)
	return err
}
