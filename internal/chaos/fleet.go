package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/child"
)

// readyTime bounds the recovery of a server.
const readyTime = 60 * time.Second

// fleet is the processes. Each is killed and started by one goroutine at a time.
type fleet struct {
	c       *campaign
	server  *child.Server
	workers []*slot

	mu    sync.Mutex
	kills Kills
}

// slot is the place of a worker: one process after the other.
type slot struct {
	place, life int
	process     *child.Process
}

func (s *slot) name() string { return fmt.Sprintf("w%d.%d", s.place, s.life) }

func startFleet(ctx context.Context, c *campaign) (*fleet, error) {
	f := &fleet{c: c}
	ready, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	var err error
	if f.server, err = child.StartServer(ready, child.ServerOptions{
		Binary: c.Server, Dir: filepath.Join(c.Dir, "data"), Log: filepath.Join(c.Dir, "server.log"),
	}); err != nil {
		if f.server != nil && f.server.Process != nil {
			err = errors.Join(err, f.server.Kill())
		}
		return nil, err
	}
	for place := range c.Workers {
		s := &slot{place: place}
		f.workers = append(f.workers, s)
		if err := f.startWorker(s); err != nil {
			f.kill()
			return nil, err
		}
	}
	return f, nil
}

func (f *fleet) startWorker(s *slot) (err error) {
	s.life++
	s.process, err = child.Start(child.Program{
		Name: "worker " + s.name(), Path: f.c.Worker, Log: filepath.Join(f.c.Dir, "workers.log"),
		Args: []string{"worker", "-server", f.server.GRPCAddr, "-name", s.name(), "-executions", filepath.Join(f.c.Dir, executionsDir)},
	})
	return err
}

// kill ends everything at once.
func (f *fleet) kill() {
	for _, s := range f.workers {
		if s.process != nil {
			_ = s.process.Kill() // it dies with this process at the latest
		}
	}
	_ = f.server.Kill() // as above
}

// storm does the faults of a plan. When it returns all processes run.
func (f *fleet) storm(ctx context.Context, faults []fault) (Kills, error) {
	began := f.c.clock.Boot()
	errs := make(chan error)
	for place := onServer; place < len(f.workers); place++ {
		go func() {
			var err error
			for _, one := range faults {
				if one.worker != place || err != nil {
					continue
				}
				if !f.c.pause(ctx, one.at-(f.c.clock.Boot()-began)) {
					err = context.Cause(ctx)
				} else if err = f.alive(place); err == nil {
					err = f.do(ctx, one)
				}
			}
			errs <- err
		}()
	}
	var err error
	for range len(f.workers) + 1 {
		err = errors.Join(err, <-errs)
	}
	return f.kills, err
}

// alive fails when a process has ended that nobody killed.
func (f *fleet) alive(place int) error {
	process := f.server.Process
	if place != onServer {
		process = f.workers[place].process
	}
	select {
	case <-process.Gone():
		return fmt.Errorf("it ended by itself: %w (exit without error if nothing follows)", process.Err())
	default:
		return nil
	}
}

// do makes one fault and what follows it.
func (f *fleet) do(ctx context.Context, one fault) error {
	switch {
	case one.pause > 0:
		return f.stopFor(ctx, one)
	case one.worker == onServer:
		err := f.restartServer(ctx, one)
		f.count(func(k *Kills) {
			k.Server++
			if one.again > 0 {
				k.Server++
			}
		})
		return err
	}
	s := f.workers[one.worker]
	from := f.c.now()
	if err := s.process.Kill(); err != nil {
		return err
	}
	f.c.book.NoteFault(ledger.Fault{Process: s.name(), From: from, To: f.c.now()})
	f.count(func(k *Kills) { k.Workers++ })
	if !f.c.pause(ctx, one.rest) {
		return context.Cause(ctx)
	}
	return f.startWorker(s)
}

// restartServer kills the server and waits until it is ready again.
func (f *fleet) restartServer(ctx context.Context, one fault) error {
	from := f.c.now()
	defer func() { f.c.book.NoteFault(ledger.Fault{Process: ledger.ServerProcess, From: from, To: f.c.now()}) }()
	if err := f.server.Kill(); err != nil {
		return err
	}
	if one.again > 0 {
		if err := f.server.Spawn(); err != nil {
			return err
		}
		f.c.pause(ctx, one.again)
		if err := errors.Join(f.alive(onServer), f.server.Kill()); err != nil {
			return err
		}
	}
	ready, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return f.server.Restart(ready)
}

// stopFor stops a process for a while.
func (f *fleet) stopFor(ctx context.Context, one fault) error {
	process, name := f.server.Process, ledger.ServerProcess
	if one.worker != onServer {
		s := f.workers[one.worker]
		process, name = s.process, s.name()
	}
	from := f.c.now()
	err := process.Signal(syscall.SIGSTOP)
	f.c.pause(ctx, one.pause)
	err = errors.Join(err, process.Signal(syscall.SIGCONT))
	f.c.book.NoteFault(ledger.Fault{Process: name, Pause: true, From: from, To: f.c.now()})
	f.count(func(k *Kills) {
		if one.worker == onServer {
			k.PausedServer++
		} else {
			k.PausedWorker++
		}
	})
	return err
}

func (f *fleet) count(add func(*Kills)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.kills)
}
