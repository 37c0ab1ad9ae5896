package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// lab is what one workload is measured in: a server, workers, and the client.
type lab struct {
	options Options
	dir     string // of everything that is written
	result  *Result

	server  *child.Server // nil when a running one is used
	suite   *suite        // the servers over a broker; nil otherwise
	workers []*child.Process
	client  *client.Client
	queue   flow.QueueOption

	before, after usage // at both ends of the measured time
	// usageOfStore tells what a store in this process has done; nil when there is none.
	usageOfStore func() pebble.Stats
}

// open starts what the workload needs. What it has started when it fails is ended by close.
func (l *lab) open(ctx context.Context, w workload) error {
	if w.alone {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("after %s", patience))
	defer cancel()
	l.queue = flow.Queue("bench-" + strconv.Itoa(os.Getpid())) // others may use a running server, too
	addr := l.options.Addr
	switch {
	case l.options.Broker != nil:
		l.suite = newSuite(l)
		if err := l.suite.start(ctx, l.suite.roles()...); err != nil {
			return err
		}
		var err error
		if l.result.Broker, err = l.suite.describe(ctx); err != nil {
			return err
		}
		addr = l.suite.gateway().GRPCAddr
	case addr == "":
		if err := l.startServer(ctx); err != nil {
			return err
		}
		addr = l.server.GRPCAddr
	}
	c, err := client.Dial(addr, client.Options{})
	if err != nil {
		return err
	}
	l.client = c
	for n := range l.options.Workers {
		worker, err := child.Start(child.Program{
			Name: fmt.Sprintf("worker %d", n+1), Path: l.options.Binary, Log: filepath.Join(l.dir, "workers.log"),
			Args: []string{
				"bench", "worker", "--addr", addr, "--queue", string(l.queue),
				"--profile-socket", l.socket("worker" + strconv.Itoa(n+1)),
				"--task-slots", strconv.Itoa(l.options.TaskSlots), "--activation-slots", strconv.Itoa(l.options.ActivationSlots),
			},
		})
		if err != nil {
			return err
		}
		l.workers = append(l.workers, worker)
	}
	return l.awaitWorkers(ctx)
}

func (l *lab) startServer(ctx context.Context) error {
	server, err := child.StartServer(ctx, child.ServerOptions{
		Binary: l.options.Binary, Dir: filepath.Join(l.dir, "data"), Args: []string{"--log-level", "warn", "--profile-socket", l.socket("server")},
	})
	l.server = server
	if server != nil && server.Process == nil {
		l.server = nil
	}
	return err
}

// awaitWorkers waits until all workers are connected.
func (l *lab) awaitWorkers(ctx context.Context) error {
	api := apiv1.NewWorkflowServiceClient(l.client.Conn())
	for {
		answer, err := api.ListWorkers(ctx, &apiv1.ListWorkersRequest{Queue: string(l.queue)})
		if err == nil && len(answer.GetWorkers()) >= len(l.workers) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("asking the server for its workers: %w", err)
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return l.explain(fmt.Errorf("the workers are not connected: %w", context.Cause(ctx)))
		}
		for _, w := range l.workers {
			select {
			case <-w.Gone():
				return l.explain(fmt.Errorf("a worker ended before it was connected: %w", w.Err()))
			default:
			}
		}
	}
}

// explain adds to an error what the processes have said.
func (l *lab) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	for _, name := range []string{"data.log", "workers.log"} {
		if said, _ := os.ReadFile(filepath.Join(l.dir, name)); len(said) > 0 {
			err = fmt.Errorf("%w\n%s:\n%s", err, name, said[max(0, len(said)-2<<10):])
		}
	}
	return err
}

// close ends the processes: workers first, so that they have nothing to reconnect to.
func (l *lab) close() error {
	var errs []error
	for _, w := range l.workers {
		errs = append(errs, w.Kill())
	}
	if l.client != nil {
		errs = append(errs, l.client.Close())
	}
	if l.server != nil {
		errs = append(errs, l.server.Kill())
	}
	if l.suite != nil {
		errs = append(errs, l.suite.close())
	}
	return errors.Join(errs...)
}

// removeSocket removes the socket of a process that was killed.
func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// sleep waits and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // measured is real time
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
