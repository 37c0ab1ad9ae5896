// Package chaos kills real processes under load and checks that nothing was lost and nothing done twice.
//
// It starts a server and workers as child processes, drives them through the public client, kills and stops them at moments
// drawn from a seed, and writes down on its own what was acknowledged and what was executed. After the storm comes the calm:
// everything must end. Then package audit compares all of it. The seed fixes what is done and when; what the processes were
// doing at that moment differs from run to run.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/clock"
)

// Options of a chaos run. Start, Worker and Dir are needed.
type Options struct {
	// Kills is how many SIGKILLs of services and workers there are, and For the time over which they are spread.
	Kills int
	For   time.Duration
	// Stops of services are so long that others take over; Restarts are those of a broker, every other one in order; the read
	// store is Away once. They are for systems that have these parts.
	Stops, Restarts int
	Away            time.Duration
	Seed            uint64
	// Workers are the worker processes, InFlight the runs that are open at a time, Mailboxes the workflow ids that many
	// clients steer at once.
	Workers   int
	InFlight  int
	Mailboxes int
	// Start starts the system; it ends with the run. Worker is the executable whose subcommand worker runs [Work].
	Start  func(ctx context.Context) (*System, error)
	Worker string
	// Dir gets everything: data, logs, ledger. It must not exist or be empty.
	Dir string
	// Calm bounds the time after the storm in which everything has to end; 90 s.
	Calm time.Duration
	// LeastAcks is the number of acknowledged commands per kill below which the run proves nothing and fails; 20.
	LeastAcks int
	// Search bounds the search for an order of the operations on mailboxes; 30 s.
	Search time.Duration
	// Out is told how it goes.
	Out io.Writer
}

// Again is the command that runs the same once more.
func (o *Options) Again() string {
	return fmt.Sprintf("go run ./cmd/continuo-chaos -seed %d -kills %d -for %v -workers %d -inflight %d -mailboxes %d",
		o.Seed, o.Kills, o.For, o.Workers, o.InFlight, o.Mailboxes)
}

func (o *Options) setDefaults() {
	if o.Calm <= 0 {
		o.Calm = 90 * time.Second
	}
	if o.LeastAcks <= 0 {
		o.LeastAcks = 20
	}
	if o.Search <= 0 {
		o.Search = 30 * time.Second
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
}

// Report is what a run found.
type Report struct {
	Seed  uint64
	Kills Kills
	Acked int
	audit.Counts
	API        audit.APICounts
	Violations []audit.Violation
	Took       time.Duration
}

// Kills counts faults by kind.
type Kills struct {
	Server, Workers            int
	PausedServer, PausedWorker int
	// Restarts are ends of a broker or a read store, by SIGKILL or in order.
	Restarts int
}

// All is the number of SIGKILLs of services and workers.
func (k Kills) All() int { return k.Server + k.Workers }

// String is the summary, on one line.
func (r *Report) String() string {
	verdict := "ok"
	if len(r.Violations) > 0 {
		verdict = fmt.Sprintf("FAILED with %d violations", len(r.Violations))
	}
	restarts := ""
	if r.Kills.Restarts > 0 {
		restarts = fmt.Sprintf(", %d restarts of broker and read store", r.Kills.Restarts)
	}
	return fmt.Sprintf("chaos: %s: %d kills (server %d, workers %d), %d pauses (server %d, workers %d)%s; %d acked commands, %d runs; lost %d, done twice %d; "+
		"%d task executions and %d of steps, %d repeated for a reason, %d of them after their end; porcupine: %d histories, %d ops, %d illegal, %d undecided; %.0f s, seed %d",
		verdict, r.Kills.All(), r.Kills.Server, r.Kills.Workers, r.Kills.PausedServer+r.Kills.PausedWorker, r.Kills.PausedServer, r.Kills.PausedWorker, restarts,
		r.Acked, r.Runs, r.Lost, r.Twice, r.Executions, r.Steps, r.Repeated, r.Finished,
		r.API.Histories, r.API.Ops, r.API.Illegal, r.API.Unknown, r.Took.Seconds(), r.Seed)
}

// campaign is one run.
type campaign struct {
	Options
	clock  clock.Clock
	system *System
	book   *ledger.Book
	fleet  *fleet
	load   *load
}

// Run does it. The error says that it could not be done, or that too little happened to prove anything; violations are in
// the report.
func Run(ctx context.Context, options Options) (*Report, error) {
	options.setDefaults()
	c := &campaign{Options: options, clock: clock.Real()}
	began := c.clock.Boot()
	if err := os.MkdirAll(filepath.Join(c.Dir, executionsDir), 0o700); err != nil {
		return nil, err
	}
	var err error
	if c.book, err = ledger.Open(filepath.Join(c.Dir, "ledger.jsonl")); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if c.system, err = c.Start(ready); err != nil {
		return nil, err
	}
	if c.fleet, err = startFleet(c); err != nil {
		return nil, err
	}
	defer c.fleet.kill()
	report, err := c.run(ctx)
	if err == nil {
		report.Took = c.clock.Boot() - began
		err = c.write(report)
	}
	return report, err
}

const executionsDir = "executions"

// run is the storm, the calm and the judgement.
func (c *campaign) run(ctx context.Context) (*Report, error) {
	report := &Report{Seed: c.Seed}
	storm, endStorm := context.WithCancel(ctx)
	defer endStorm()
	calm, endCalm := context.WithCancel(ctx)
	defer endCalm()
	var err error
	if c.load, err = newLoad(c); err != nil {
		return nil, err
	}
	defer c.load.close()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		c.load.run(storm, calm)
	}()
	if report.Kills, err = c.fleet.storm(ctx, plan(c.Seed, planOf(&c.Options, c.system))); err != nil {
		return nil, err
	}
	endStorm()
	c.say("the storm is over: %d kills, %d acknowledged commands; waiting for everything to end", report.Kills.All(), c.book.Acked())
	late := c.clock.NewTimer(c.Calm)
	defer late.Stop()
	select {
	case <-loaded:
	case <-late.C():
		c.say("not everything ended within %v", c.Calm)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	endCalm()
	<-loaded
	return report, c.judge(ctx, report)
}

// judge collects the evidence and applies all rules to it.
func (c *campaign) judge(ctx context.Context, report *Report) error {
	// What is judged is what a server says that has just recovered from its log.
	if err := c.fleet.restartServices(ctx); err != nil {
		return err
	}
	c.say("everything ended; reading histories")
	evidence, found, err := c.collect(ctx)
	if err != nil {
		return err
	}
	report.Acked = c.book.Acked()
	stopped, err := c.stop(ctx)
	if err != nil {
		return err
	}
	c.say("judging %d runs, %d operations, %d executions", len(evidence.Runs), len(evidence.Ops), len(evidence.Executions))
	counts, judged := audit.Judge(evidence)
	report.Counts = counts
	var unordered []audit.Violation
	report.API, unordered = audit.API(evidence, c.Search)
	for _, more := range [][]audit.Violation{judged, found, stopped, unordered} {
		report.Violations = append(report.Violations, more...)
	}
	for _, v := range found { // of histories; the others are counted
		if v.Rule == audit.RuleTwice {
			report.Twice++
		}
	}
	if kills := report.Kills.All(); report.Acked < c.LeastAcks*kills {
		return fmt.Errorf("%d commands were acknowledged during %d kills, fewer than %d for each: this proves nothing; give it more time (-for) or a quieter machine",
			report.Acked, kills, c.LeastAcks)
	}
	return nil
}

// write keeps the violations beside the evidence.
func (c *campaign) write(r *Report) error {
	file, err := os.Create(filepath.Join(c.Dir, "report.txt"))
	if err != nil {
		return err
	}
	for _, v := range r.Violations {
		_, err = fmt.Fprintln(file, v)
	}
	_, last := fmt.Fprintln(file, r)
	return errors.Join(err, last, file.Close())
}

func (c *campaign) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Out, "chaos: "+format+"\n", args...) // who does not listen misses nothing that is not in the report
}

// pause waits; false means that ctx ended first.
func (c *campaign) pause(ctx context.Context, d time.Duration) bool {
	timer := c.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// now stamps the ledger.
func (c *campaign) now() int64 { return int64(c.clock.Boot()) }

// shownViolations bounds what is printed; the report in the directory has all.
const shownViolations = 20

// Print writes what went wrong, where everything is kept and how to run it again; nothing when all went well. The error says
// that there are violations.
func Print(out io.Writer, r *Report, dir, again string) error {
	if len(r.Violations) == 0 {
		return nil
	}
	var b strings.Builder
	for i, v := range r.Violations {
		if i == shownViolations {
			fmt.Fprintf(&b, "… and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintln(&b, v)
	}
	fmt.Fprintf(&b, "seed:  %d\nkept:  %s (report.txt, ledger.jsonl, executions, logs, data)\nagain: %s\n", r.Seed, dir, again)
	_, err := io.WriteString(out, b.String())
	return errors.Join(err, fmt.Errorf("%d violations with seed %d", len(r.Violations), r.Seed))
}
