package powercut

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// signals is how many signals each workflow is sent, and waits for.
const signals = 4

// bulk is how large the input of some workflows is: above what a record carries, so that it becomes a blob.
const bulk = 160 << 10

// plan is the input of a workflow.
type plan struct{ Bulk string }

// report is what came of one: the signals in the order in which they came, and what the input was.
type report struct {
	Signals []int
	Input   string
}

// Notary is the service that the workflows call.
type Notary interface {
	Note(ctx context.Context, signal int) (int, error)
}

type notary struct{}

func (notary) Note(_ context.Context, signal int) (int, error) { return -signal, nil }

var (
	collect = flow.NewWorkflow[plan, report]("powercut.Collect")
	told    = flow.NewSignal[int]("told")
)

// runCollect uses what a server has to recover: signals, tasks, timers, payloads in blobs.
func runCollect(ctx flow.Context, in plan) (report, error) {
	out := report{Input: sum(in.Bulk)}
	for n := range signals {
		signal, err := told.Next(ctx).Await(ctx)
		if err != nil {
			return out, err
		}
		noted, err := flow.Call(ctx, Notary.Note, signal)
		if err != nil {
			return out, err
		}
		if n%2 == 1 {
			if err := flow.Sleep(ctx, 20*time.Millisecond); err != nil {
				return out, err
			}
		}
		out.Signals = append(out.Signals, -noted)
	}
	return out, nil
}

func sum(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:])
}

// ledger is what clients were told: the truth that a store is held against.
type ledger struct {
	mu    sync.Mutex
	flows map[events.WorkflowID]*entry
	fresh []*entry // acknowledged since the last call of repeat
	acked int
}

// entry is what is known of one workflow.
type entry struct {
	id     events.WorkflowID
	run    events.RunID // zero until the start is acknowledged
	told   [signals]bool
	result *report
}

func newLedger() *ledger { return &ledger{flows: map[events.WorkflowID]*entry{}} }

// note changes the ledger after an acknowledgement.
func (l *ledger) note(e *entry, change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.acked++
	if len(l.fresh) == 0 || l.fresh[len(l.fresh)-1] != e {
		l.fresh = append(l.fresh, e)
	}
}

func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// drive runs one workflow from its start to its result, writing down every acknowledgement.
func (l *ledger) drive(ctx context.Context, line *line, name string, large bool) error {
	e := &entry{id: events.WorkflowID(name)}
	l.mu.Lock()
	l.flows[e.id] = e
	l.mu.Unlock()
	var run flow.Run[report]
	err := line.do(ctx, func(c *client.Client) (err error) {
		run, err = collect.Start(ctx, c, input(name, large), flow.ID(name), flow.RequestID(startRequest))
		return err
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	l.note(e, func() { e.run = run.RunID() })
	for n := range signals {
		if err := line.do(ctx, func(c *client.Client) error { return tell(ctx, c, name, n) }); err != nil {
			return fmt.Errorf("signal %d to %s: %w", n, name, err)
		}
		l.note(e, func() { e.told[n] = true })
	}
	var result report
	err = line.do(ctx, func(c *client.Client) (err error) {
		result, err = collect.Attach(c, name).Result(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("the result of %s: %w", name, err)
	}
	l.note(e, func() { e.result = &result })
	return e.whole(large)
}

// line is the connection that everybody shares. It is a new one after each cut: clients end with a power cut as well, and
// others ask again.
type line struct {
	mu     sync.Mutex
	client *client.Client // nil while there is none
	change chan struct{}  // closed and replaced with every change
}

func newLine() *line { return &line{change: make(chan struct{})} }

// set replaces the client and closes the one before.
func (l *line) set(c *client.Client) {
	l.mu.Lock()
	before := l.client
	l.client = c
	close(l.change)
	l.change = make(chan struct{})
	l.mu.Unlock()
	if before != nil {
		_ = before.Close() // open calls end, with outcomes that nobody knows
	}
}

// do makes a call until a client that was not closed meanwhile has answered it.
func (l *line) do(ctx context.Context, call func(*client.Client) error) error {
	for {
		l.mu.Lock()
		c, change := l.client, l.change
		l.mu.Unlock()
		if c != nil {
			err := call(c)
			l.mu.Lock()
			same := l.client == c
			l.mu.Unlock()
			if err == nil || same {
				return err
			}
			continue
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const startRequest = "start"

func tell(ctx context.Context, c *client.Client, name string, n int) error {
	return told.Send(ctx, c, name, n, flow.RequestID(fmt.Sprint("signal-", n)))
}

func input(name string, large bool) plan {
	if large {
		return plan{strings.Repeat(name+" ", bulk/(len(name)+1))}
	}
	return plan{name}
}

// whole says what is wrong with the result of a workflow that was told everything.
func (e *entry) whole(large bool) error {
	var seen [signals]int
	for _, n := range e.result.Signals {
		if n < 0 || n >= signals {
			return fmt.Errorf("%s was given signal %d, which nobody has sent", e.id, n)
		}
		seen[n]++
	}
	for n, times := range seen {
		if times != 1 {
			return fmt.Errorf("%s was given signal %d %d times", e.id, n, times)
		}
	}
	if want := sum(input(string(e.id), large).Bulk); e.result.Input != want {
		return fmt.Errorf("%s had an input of hash %s; %s was sent", e.id, e.result.Input, want)
	}
	return nil
}

// repeat sends again what was acknowledged lately, as a client does that lost the answer. The answers must be the same;
// that nothing happens twice is seen in the store.
func (l *ledger) repeat(ctx context.Context, c *client.Client, most int) error {
	l.mu.Lock()
	lately := l.fresh[max(0, len(l.fresh)-most):]
	l.fresh = nil
	copies := make([]entry, len(lately))
	for i, e := range lately {
		copies[i] = *e
	}
	l.mu.Unlock()
	failures := make([]error, len(copies))
	var repeating sync.WaitGroup
	for i := range copies {
		repeating.Go(func() { failures[i] = copies[i].repeat(ctx, c) })
	}
	repeating.Wait()
	return errors.Join(failures...)
}

func (e *entry) repeat(ctx context.Context, c *client.Client) error {
	name := string(e.id)
	run, err := collect.Start(ctx, c, input(name, false), flow.ID(name), flow.RequestID(startRequest))
	if err != nil || run.RunID() != e.run {
		return fmt.Errorf("the start of %s was answered with run %s and now with %s, %w", e.id, e.run, run.RunID(), err)
	}
	for n, acknowledged := range e.told {
		if !acknowledged {
			continue
		}
		// A run that has ended keeps the answers to what it was sent.
		if err := tell(ctx, c, name, n); err != nil {
			return fmt.Errorf("signal %d to %s was acknowledged and is now answered with: %w", n, e.id, err)
		}
	}
	return nil
}

// missing says what was acknowledged and is not in a store.
func (l *ledger) missing(found *contents) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []string
	add := func(format string, args ...any) { lost = append(lost, fmt.Sprintf(format, args...)) }
	for id, e := range l.flows {
		if e.run.IsZero() {
			continue
		}
		run := found.runs[e.run]
		if run == nil || run.workflow != id {
			add("the start of %s, run %s", id, e.run)
			continue
		}
		for n, acknowledged := range e.told {
			if acknowledged && run.signals[n] != 1 {
				add("signal %d to %s is there %d times", n, id, run.signals[n])
			}
		}
		if e.result == nil {
			continue
		}
		want, err := json.Marshal(e.result)
		if err != nil || run.result != string(want) {
			add("the result of %s was %s and is %q", id, want, run.result)
		}
	}
	for id, run := range found.runs {
		for n, times := range run.signals {
			if times > 1 {
				add("signal %d to run %s is there %d times", n, id, times)
			}
		}
	}
	return lost
}
