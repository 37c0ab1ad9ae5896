package bench

import (
	"context"
	"errors"
	"log/slog"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// WorkerOptions of a worker process.
type WorkerOptions struct {
	// Addr is the server's gRPC address, Queue the task queue.
	Addr, Queue string
	// TaskSlots and ActivationSlots bound what it does at a time.
	TaskSlots, ActivationSlots int
	// ProfileSocket is where [ServeProfiles] serves; empty means nowhere.
	ProfileSocket string
	// Log gets what the worker has to say.
	Log *slog.Logger
}

// Work is what a worker process does until ctx ends.
func Work(ctx context.Context, o WorkerOptions) error {
	if o.ProfileSocket != "" {
		stop, err := ServeProfiles(ctx, o.ProfileSocket)
		if err != nil {
			return err
		}
		defer stop()
	}
	c, err := client.Dial(o.Addr, client.Options{})
	if err != nil {
		return err
	}
	parts := []worker.Option{worker.Options{Queue: o.Queue, Tasks: o.TaskSlots, Activations: o.ActivationSlots, Log: o.Log}}
	for _, b := range bindings() {
		parts = append(parts, b)
	}
	w, err := worker.New(c, parts...)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return errors.Join(w.Run(ctx), c.Close())
}
