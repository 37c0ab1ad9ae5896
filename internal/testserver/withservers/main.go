// Command withservers runs a program beside a real Pulsar and the real engine of ClickHouse, which it starts and ends:
//
//	go run ./internal/testserver/withservers [-stock] [-set name=value ...] program [argument ...]
//
// {pulsar}, {admin} and {clickhouse} in arguments become the URLs of the broker, of its web service, and of the read store. The
// broker syncs its journal before it acknowledges. It is set up to answer at once, as docs/operations recommends, or, with
// -stock, to wait for more to sync together and to look for new messages every 10 ms, as Pulsar comes; -set changes one setting of
// its.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// stock are the settings with which Pulsar comes, where the test server has others that decide how quick it is.
var stock = map[string]string{
	"journalMaxGroupWaitMSec": "1", "journalFlushWhenQueueEmpty": "false", "managedLedgerNewEntriesCheckDelayInMillis": "10",
}

func main() {
	settings := map[string]string{}
	asItComes := flag.Bool("stock", false, "leave the broker's waiting times as Pulsar comes with them")
	flag.Func("set", "a setting of the broker, `name=value`", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if settings[name] = value; !ok {
			return errors.New("want name=value")
		}
		return nil
	})
	flag.Parse()
	if *asItComes {
		maps.Copy(settings, stock)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "withservers:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, settings map[string]string, command []string) (err error) {
	if len(command) == 0 {
		return errors.New("name the program to run beside the servers")
	}
	dir, err := os.MkdirTemp("", "continuo-servers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in := func(name string) string {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.Mkdir(path, 0o700))
		return path
	}
	o := pulsar.Options{Dir: in("pulsar"), Peak: true, HeapMB: 384, DirectMB: 384, Config: settings}
	read := in("clickhouse")
	if err != nil {
		return err
	}
	broker, err := pulsar.Run(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Kill()) }()
	store, err := clickhouse.Run(ctx, clickhouse.Options{Dir: read})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Kill()) }()
	urls := strings.NewReplacer("{pulsar}", broker.URL(), "{admin}", broker.AdminURL(), "{clickhouse}", store.URL("default"))
	for i := range command {
		command[i] = urls.Replace(command[i])
	}
	program := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // it is what the caller asks for
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	program.Cancel = func() error { return program.Process.Signal(os.Interrupt) }
	return program.Run()
}
