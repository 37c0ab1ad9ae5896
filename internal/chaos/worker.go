package chaos

import (
	"context"
	"errors"
	"log/slog"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// Work is a worker process: it executes programs and writes down what it executes, until ctx ends or it is killed.
func Work(ctx context.Context, server, name, executions string, log *slog.Logger) error {
	c := clock.Real()
	book, err := ledger.OpenExecutions(executions, name, c)
	if err != nil {
		return err
	}
	connection, err := client.Dial(server, client.Options{Identity: name})
	if err != nil {
		return errors.Join(err, book.Close())
	}
	// Few live runs, so that code is replayed often.
	parts := append(program.Code(book, c), worker.Options{Tasks: 64, Activations: 32, LiveRuns: 48, Identity: name, Log: log})
	w, err := worker.New(connection, parts...)
	if err == nil {
		err = w.Run(ctx)
	}
	return errors.Join(err, connection.Close(), book.Close())
}
