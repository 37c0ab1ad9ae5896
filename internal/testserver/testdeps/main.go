// Command testdeps installs the real servers that tests run against, once, in the user's cache directory:
//
//	go run ./internal/testserver/testdeps [name ...]
//
// Without names it installs all. What is there already is not touched, so it may run before every test. Tests find what it
// installed by themselves, and say how to get it when it is missing.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// dependency is a server that tests need.
type dependency struct {
	name string
	// install makes it ready for tests and returns the directory it is in. It is called every time, and is quick when there
	// is nothing to do.
	install func(ctx context.Context) (dir string, err error)
}

var dependencies = []dependency{
	{name: "clickhouse", install: clickhouse.Install},
	{name: "pulsar", install: pulsar.Install},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testdeps:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, wanted []string) error {
	var known []string
	for _, d := range dependencies {
		known = append(known, d.name)
	}
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return fmt.Errorf("nothing is known of %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	for _, d := range dependencies {
		if len(wanted) > 0 && !slices.Contains(wanted, d.name) {
			continue
		}
		start := time.Now()
		dir, err := d.install(ctx)
		if err != nil {
			return fmt.Errorf("install %s: %w", d.name, err)
		}
		fmt.Printf("%s: %s (%.1f s)\n", d.name, dir, time.Since(start).Seconds())
	}
	return nil
}
