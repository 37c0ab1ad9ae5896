package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/child"
)

// readyTime bounds the recovery of a part.
const readyTime = 60 * time.Second

// fleet is the processes. Each is killed and started by one goroutine at a time.
type fleet struct {
	c       *campaign
	parts   [onReadStore + 1][]Part
	workers []*slot

	mu    sync.Mutex
	kills Kills
	// brokersAway is how many brokers are being restarted now, and brokersBack when that was over last.
	brokersAway int
	brokersBack time.Duration
}

// slot is the place of a worker: one process after the other.
type slot struct {
	place, life int
	process     *child.Process
}

func (s *slot) name() string { return fmt.Sprintf("w%d.%d", s.place, s.life) }

func startFleet(c *campaign) (*fleet, error) {
	f := &fleet{c: c}
	for _, part := range c.system.Parts {
		f.parts[part.kind()] = append(f.parts[part.kind()], part)
	}
	for n := range c.Workers {
		s := &slot{place: n}
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
		Args: []string{"worker", "-server", f.c.system.Addr, "-name", s.name(), "-executions", filepath.Join(f.c.Dir, executionsDir)},
	})
	return err
}

// kill ends workers and services at once. A broker or a read store is of those who started it.
func (f *fleet) kill() {
	for _, s := range f.workers {
		if s.process != nil {
			_ = s.process.Kill() // it dies with this process at the latest
		}
	}
	for _, part := range f.parts[onService] {
		_ = part.Process().Kill() // as above
	}
}

// storm does the faults of a plan. When it returns all processes run.
func (f *fleet) storm(ctx context.Context, faults []fault) (Kills, error) {
	began := f.c.clock.Boot()
	places := map[place]bool{}
	for _, one := range faults {
		places[one.on] = true
	}
	errs := make(chan error)
	for on := range places {
		go func() {
			var err error
			for _, one := range faults {
				if one.on != on || err != nil {
					continue
				}
				if !f.c.pause(ctx, one.at-(f.c.clock.Boot()-began)) {
					err = context.Cause(ctx)
				} else {
					err = f.do(ctx, one)
				}
			}
			errs <- err
		}()
	}
	var err error
	for range places {
		err = errors.Join(err, <-errs)
	}
	return f.kills, err
}

// do makes one fault and what follows it.
func (f *fleet) do(ctx context.Context, one fault) error {
	if one.on.kind == onWorker {
		return f.strikeWorker(ctx, one)
	}
	part := f.parts[one.on.kind][one.on.n]
	if err := alive(part.Name, part.Process()); err != nil {
		return err
	}
	if one.pause > 0 {
		from := f.c.now()
		err := f.c.stopFor(ctx, part.Process(), one.pause)
		f.note(ledger.ServerProcess, true, from)
		f.count(func(k *Kills) { k.PausedServer++ })
		return err
	}
	err := f.restart(ctx, part, one)
	f.count(func(k *Kills) {
		if one.on.kind != onService {
			k.Restarts++
			return
		}
		k.Server++
		if one.again > 0 {
			k.Server++
		}
	})
	return err
}

func (f *fleet) strikeWorker(ctx context.Context, one fault) error {
	s := f.workers[one.on.n]
	if err := alive("worker "+s.name(), s.process); err != nil {
		return err
	}
	from := f.c.now()
	if one.pause > 0 {
		err := f.c.stopFor(ctx, s.process, one.pause)
		f.note(s.name(), true, from)
		f.count(func(k *Kills) { k.PausedWorker++ })
		return err
	}
	if err := s.process.Kill(); err != nil {
		return err
	}
	f.note(s.name(), false, from)
	f.count(func(k *Kills) { k.Workers++ })
	if !f.c.pause(ctx, one.rest) {
		return context.Cause(ctx)
	}
	return f.startWorker(s)
}

// restart ends a part and waits until it is ready again.
func (f *fleet) restart(ctx context.Context, part Part, one fault) error {
	defer f.note(ledger.ServerProcess, false, f.c.now())
	back := f.leave(part)
	defer back()
	if err := part.end(one.inOrder); err != nil {
		return err
	}
	if one.again > 0 {
		if err := part.Spawn(); err != nil {
			return err
		}
		f.c.pause(ctx, one.again)
		if err := errors.Join(alive(part.Name, part.Process()), part.end(false)); err != nil {
			return err
		}
	}
	if !f.c.pause(ctx, one.rest) {
		return context.Cause(ctx)
	}
	return f.supervise(ctx, part, func() error {
		ready, cancel := context.WithTimeout(ctx, readyTime)
		defer cancel()
		return part.Restart(ready)
	})
}

// supervise starts a part. A service that finds no broker waits a while and then ends with an error, for its supervisor to start
// it again, as is done here. What ends otherwise is a finding.
func (f *fleet) supervise(ctx context.Context, part Part, start func() error) error {
	for {
		from := f.c.clock.Boot()
		err := start()
		if err == nil || part.kind() != onService || !refusedToServe(part) || !f.brokerWasAway(from) || !f.c.pause(ctx, supervisorPause) {
			return err
		}
		f.c.say("%s found no broker and is started again", part.Name)
	}
}

// supervisorPause is how long a service that ended stays away.
const supervisorPause = time.Second

// refusedToServe reports whether a part has ended as the program does when it says why it cannot serve: not by a panic, a
// signal, a race or a wrong flag.
func refusedToServe(part Part) bool {
	exit, is := errors.AsType[*exec.ExitError](alive(part.Name, part.Process()))
	return is && exit.ExitCode() == 1
}

// brokerWasAway reports whether a broker was being restarted at some time since a moment.
func (f *fleet) brokerWasAway(since time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.brokersAway > 0 || f.brokersBack > since
}

// leave notes that a part goes away if it is a broker, and returns what notes that it is back.
func (f *fleet) leave(part Part) (back func()) {
	if !part.Broker {
		return func() {}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.brokersAway++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.brokersAway--
		f.brokersBack = f.c.clock.Boot()
	}
}

// restartServices kills all services, and starts them again.
func (f *fleet) restartServices(ctx context.Context) error {
	defer f.note(ledger.ServerProcess, false, f.c.now())
	var err error
	for _, part := range f.parts[onService] {
		err = errors.Join(err, part.end(false))
	}
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for _, part := range f.parts[onService] {
		if err := part.Restart(ready); err != nil {
			return err
		}
	}
	return nil
}

// note writes a fault down that began at a moment and is over now.
func (f *fleet) note(process string, pause bool, from int64) {
	f.c.book.NoteFault(ledger.Fault{Process: process, Pause: pause, From: from, To: f.c.now()})
}

func (f *fleet) count(add func(*Kills)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.kills)
}
