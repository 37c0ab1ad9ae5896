// Command runlocal brings the services of a compose file up as processes of this machine, without containers, and down again:
//
//	deploy/compose/run-local.sh up|down|status [-file FILE] [-state DIR]
//
// Each runs with the command and the environment of the compose file. Only what containers change is translated: a service has a
// loopback address of its own instead of a name in a network, unless its port is published; a volume is a directory, and a secret the
// file that it comes from. Pulsar and ClickHouse are the servers of the tests. Other images are left out, which is said. Nothing
// is started again when it ends, and nothing bounds the processes. It must run inside the module, after `make testdeps`.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "run-local:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to do: up, down or status")
	}
	flags := flag.NewFlagSet("run-local "+args[0], flag.ContinueOnError)
	file := flags.String("file", "deploy/compose/compose.yaml", "the compose file")
	state := flags.String("state", "deploy/compose/.local", "directory of data, logs, secrets and process ids")
	volumes := flags.Bool("volumes", false, "down: delete the directory, too")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	dir, err := filepath.Abs(*state)
	if err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return up(ctx, *file, dir, out)
	case "down":
		if err := down(dir, out); err != nil {
			return err
		}
		if !*volumes {
			fmt.Fprintf(out, "What there is of data and logs stays in %s.\n", dir)
			return nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is deleted, with data, logs and secrets.\n", dir)
		return nil
	case "status":
		return status(dir, out)
	}
	return fmt.Errorf("%q is not known; use up, down or status", args[0])
}
