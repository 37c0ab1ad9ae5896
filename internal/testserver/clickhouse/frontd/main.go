// Command frontd serves the HTTP interface of ClickHouse on loopback out of the engine as a library, for tests. It ends by
// SIGTERM after the statements that run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	library := flag.String("library", "", "libchdb.so")
	dir := flag.String("dir", "", "the data")
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	user := flag.String("user", "", "the one user that is let in; empty: everybody")
	password := flag.String("password", "", "of that user")
	flag.Parse()
	if err := run(*library, *dir, *addr, *user, *password); err != nil {
		fmt.Fprintln(os.Stderr, "frontd:", err)
		os.Exit(1)
	}
}

func run(library, dir, addr, user, password string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	e, err := load(library)
	if err != nil {
		return err
	}
	f, err := newFront(e, dir, user, password)
	if err != nil {
		return err
	}
	defer f.close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
