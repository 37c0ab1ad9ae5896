// Command serve becomes a real server on loopback, for programs that want one beside them:
//
//	go run ./internal/testserver/serve pulsar -dir DIR -addr 127.0.0.1:6650 -admin-addr 127.0.0.1:8080
//	go run ./internal/testserver/serve clickhouse -dir DIR -addr 127.0.0.1:8123
//
// It prepares the directory, where data from before are found again, and is then replaced by the server: its process id, signals
// and output are the server's. It must run inside the module, after `make testdeps`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// run does not return when all is well.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say which server: pulsar or clickhouse")
	}
	flags := flag.NewFlagSet("serve "+args[0], flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of its data; it must exist")
	addr := flags.String("addr", "", "host and port, on loopback")
	adminAddr := flags.String("admin-addr", "", "of Pulsar's web service")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	var program child.Program
	var err error
	switch args[0] {
	case "pulsar":
		program, err = pulsar.Command(pulsar.Options{Dir: *dir, Addr: *addr, AdminAddr: *adminAddr})
	case "clickhouse":
		program, err = clickhouse.Command(ctx, clickhouse.Options{Dir: *dir, Addr: *addr})
	default:
		return fmt.Errorf("nothing is known of %q; there are pulsar and clickhouse", args[0])
	}
	if errors.Is(err, testserver.ErrMissing) {
		return fmt.Errorf("%w; get it with: %s", err, testserver.Get)
	}
	if err != nil {
		return err
	}
	path, err := exec.LookPath(program.Path)
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{path}, program.Args...), append(os.Environ(), program.Env...))
}
