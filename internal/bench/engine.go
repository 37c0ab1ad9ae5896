package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
)

// stepsOfRun is how many steps the runs of the engine workload record.
const stepsOfRun = 10

// inProcess measures durable steps of the engine in this process, without gRPC: each caller drives a run at a time with the
// commands that a gateway would send, and waits for the activations that it would read from the log.
func inProcess(ctx context.Context, l *lab) (err error) {
	store, err := pebble.Open(filepath.Join(l.dir, "data"), pebble.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	blobs, err := files.Open(filepath.Join(l.dir, "blobs"))
	if err != nil {
		return err
	}
	log := store.Journal()
	own, err := engine.New(engine.Deps{
		Log: log, Runs: store.RunStore(), Archive: store.Archive(), Blobs: blobs, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
	}, engine.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var services sync.WaitGroup
	defer func() {
		cancel(nil)
		services.Wait()
	}()
	g := &gate{log: log, lanes: make([]lane, log.Partitions()), runs: map[events.RunID]*driven{}}
	services.Go(func() { cancel(own.Run(ctx)) })
	from := make([]journal.Position, log.Partitions())
	for p := range from {
		from[p].Partition = events.Partition(p)
	}
	reader, err := log.Follow(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	services.Go(func() { cancel(g.tail(ctx, reader)) })
	l.usageOfStore = store.Stats
	err = l.load(ctx, stepsOfRun, func(ctx context.Context, caller int) error { return g.drive(ctx, caller) })
	if err != nil && context.Cause(ctx) != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return err
}

// gate stands where the gateway stands: it stamps commands, and reads from the log what became of them.
type gate struct {
	log   journal.Journal
	lanes []lane

	mu   sync.Mutex
	next uint64
	runs map[events.RunID]*driven // open ones
}

// lane numbers the commands to one partition, in the order they are sent.
type lane struct {
	mu sync.Mutex
	n  uint64
}

// driven is a run that a caller drives.
type driven struct {
	open chan events.OpenActivation // its activations; closed at its end
	bad  chan events.Answer         // a refusal
}

// session is the stamp of the gate; there is no other on its store.
const session = 1

// send gives a stamped command to the log.
func (g *gate) send(env events.Envelope) error {
	l := &g.lanes[events.PartitionOf(env.Namespace, env.WorkflowID, len(g.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	env.Session, env.N = session, l.n
	return g.log.Send(env, nil)
}

// drive starts a run, records its steps one after the other, each when the one before is durable, and ends it.
func (g *gate) drive(ctx context.Context, caller int) error {
	var (
		run   = &driven{open: make(chan events.OpenActivation, 1), bad: make(chan events.Answer, 1)}
		value = events.Payload{Encoding: "json", Data: []byte(`"` + text + `"`)}
		env   = events.Envelope{Namespace: events.DefaultNamespace, Command: events.StartWorkflow{Type: "bench.Steps10", Queue: events.DefaultTaskQueue, Input: value}}
		salt  [10]byte
	)
	g.mu.Lock()
	g.next++
	binary.BigEndian.PutUint64(salt[2:], g.next)
	env.RunID = events.MakeRunID(now().UnixMilli(), salt)
	env.WorkflowID = events.WorkflowID(env.RunID.String())
	g.runs[env.RunID] = run
	g.mu.Unlock()
	if err := g.send(env); err != nil {
		return err
	}
	worker := events.WorkerID(fmt.Sprintf("bench-%d", caller))
	for step := events.Step(1); ; step++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case a := <-run.bad:
			return fmt.Errorf("the engine refused a command: %s %s", a.Code, a.Message)
		case open, more := <-run.open:
			if !more {
				return nil
			}
			progress := events.ReportProgress{
				Activation: open.Activation.Activation, Attempt: open.Activation.Attempt, At: open.At, Upto: open.Activation.Upto, Worker: worker,
				Intents: []events.Intent{events.RecordStep{Step: step, Label: "echo", Result: value, Attempts: 1, At: open.At}},
				Wait:    events.WaitSet{Now: true},
			}
			if step == stepsOfRun {
				progress.Intents, progress.Wait = append(progress.Intents, events.CompleteRun{Result: value}), events.WaitSet{}
			}
			env.Command = progress
			if err := g.send(env); err != nil {
				return err
			}
		}
	}
}

// tail reads the log and tells the callers what is open.
func (g *gate) tail(ctx context.Context, reader journal.Reader) error {
	var effects []events.Effect
	for {
		records, err := reader.Next(ctx, 1024)
		if err != nil {
			return err
		}
		g.mu.Lock()
		for _, r := range records {
			run := g.runs[r.RunID]
			if run == nil {
				continue
			}
			for _, a := range r.Answers {
				if a.Code != events.OK {
					select {
					case run.bad <- a:
					default:
					}
				}
			}
			effects = events.Effects(effects[:0], r)
			for _, e := range effects {
				switch e := e.(type) {
				case events.OpenActivation:
					run.open <- e // one at a time is open, and the one before was taken
				case events.EndRun:
					close(run.open)
					delete(g.runs, r.RunID)
				default: // the runs do nothing else
				}
			}
		}
		g.mu.Unlock()
	}
}
