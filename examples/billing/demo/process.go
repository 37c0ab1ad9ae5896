package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// process is a child of the driver. It may be killed and started again; its log goes on in the same file.
type process struct {
	name  string
	path  string
	args  []string
	log   string
	ready func(context.Context) bool // nil: started is ready
	// patience is how long it may take to be ready; 0 means 20 s.
	patience time.Duration

	restarts int
	cmd      *exec.Cmd
	gone     chan struct{} // closed when the present cmd has ended and was reaped
}

// fleet is all children. Its methods are called by one goroutine.
type fleet struct {
	dir  string // logs go here
	all  []*process
	lost context.CancelCauseFunc // called when a child ends that nobody told to

	mu     sync.Mutex
	wanted map[*exec.Cmd]bool // running and meant to
}

func newFleet(dir string, lost context.CancelCauseFunc) *fleet {
	return &fleet{dir: dir, lost: lost, wanted: map[*exec.Cmd]bool{}}
}

// add describes a child without starting it.
func (f *fleet) add(name, path string, ready func(context.Context) bool, args ...string) *process {
	p := &process{name: name, path: path, args: args, ready: ready, log: filepath.Join(f.dir, name+".log")}
	f.all = append(f.all, p)
	return p
}

// start starts p and waits until it is ready.
func (f *fleet) start(ctx context.Context, p *process) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	// Not CommandContext: at the end children are stopped in order, not killed. In a process group of its own a
	// child does not get the terminal's Ctrl-C, which is for the driver.
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	gone := make(chan struct{})
	f.mu.Lock()
	f.wanted[cmd] = true
	f.mu.Unlock()
	go func() {
		err := cmd.Wait()
		close(gone)
		if f.unwant(cmd) {
			f.lost(fmt.Errorf("%s ended by itself (%w): see %s", p.name, errors.Join(err, errEnded), p.log))
		}
	}()
	p.cmd, p.gone = cmd, gone
	if p.ready == nil {
		return nil
	}
	return until(ctx, cmp.Or(p.patience, 20*time.Second), p.name+" to be ready", p.ready)
}

var errEnded = errors.New("a child of the demo ended")

// unwant says whether cmd was meant to run, and that it is no more.
func (f *fleet) unwant(cmd *exec.Cmd) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.wanted[cmd]
	delete(f.wanted, cmd)
	return was
}

// kill ends p by SIGKILL and returns when it is gone.
func (f *fleet) kill(p *process) error {
	f.unwant(p.cmd)
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.gone
	return nil
}

// stop ends all children by SIGTERM, the last started first, and by SIGKILL those that take longer than patience.
// It names those that had to be killed.
func (f *fleet) stop(patience time.Duration) (stubborn []string) {
	for _, p := range slices.Backward(f.all) {
		if p.cmd == nil || !f.unwant(p.cmd) {
			continue
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it is gone already
		select {
		case <-p.gone:
		case <-time.After(patience):
			stubborn = append(stubborn, p.name)
			_ = p.cmd.Process.Kill()
			<-p.gone
		}
	}
	return stubborn
}

// until asks again every 20 ms until ok, and gives up after limit.
func until(ctx context.Context, limit time.Duration, what string, ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("waited %v for %s", limit, what))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
