package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// partition is the engine's core for one partition: commands in, one step out. It has no goroutine and no clock. What it
// holds in memory is what the log says plus the step that is being made; when a commit fails it is dropped as a whole.
//
// Changes to rows gather in maps and are written by a flush, together with the checkpoint that covers them.
type partition struct {
	id      events.Partition
	epoch   uint64
	owner   events.OwnerID
	deps    Deps
	options Options

	seq     events.Seq
	time    events.Time
	cluster string

	runs     map[events.RunID]*entry
	sessions map[events.SessionID]*session
	recent   recent

	// The groups of the turn, in the order of their records.
	groups []*group
	spare  []*group               // empty, to be used again: as many as one turn had at most
	ofNone map[workflowKey]*group // those about no run that is known
	size   []byte

	// What the run store does not have yet.
	newest      map[workflowKey]runstore.Newest
	answers     map[requestKey]*runstore.KeptAnswer // nil: to be deleted
	ended       []runstore.Ended
	quarantines map[events.RunID]*runstore.QuarantinedRun // nil: to be deleted
	unflushed   int
	flushed     events.Time
	checkpoint  events.Seq // the Next of the last one written
	stored      storedRuns

	unrecorded []*entry // quarantined, and the log does not say so yet
	swept      events.Time
	forgetting []runstore.Ended // purged in this turn, their rows and blobs still to be deleted
}

type workflowKey struct {
	namespace events.Namespace
	id        events.WorkflowID
}

func newPartition(id events.Partition, deps Deps, options Options) *partition {
	return &partition{
		id: id, deps: deps, options: options, runs: make(map[events.RunID]*entry), sessions: make(map[events.SessionID]*session),
		ofNone: make(map[workflowKey]*group), newest: make(map[workflowKey]runstore.Newest),
		answers: make(map[requestKey]*runstore.KeptAnswer), quarantines: make(map[events.RunID]*runstore.QuarantinedRun),
	}
}

// Turn handles a batch of commands, oldest first, at the given wall-clock time, and returns the step to commit. It also
// does what is due by then. After an error the partition is of no more use. The state in memory is that after the step:
// the caller commits it and calls committed, or drops the partition.
func (p *partition) Turn(ctx context.Context, now events.Time, commands []events.Envelope) (journal.Step, error) {
	p.time = max(p.time, now)
	for _, env := range commands {
		if err := p.handle(ctx, env); err != nil {
			return journal.Step{}, fmt.Errorf("command %T to workflow %q: %w", env.Command, env.WorkflowID, err)
		}
	}
	if err := p.sweep(ctx); err != nil {
		return journal.Step{}, fmt.Errorf("forgetting ended runs: %w", err)
	}
	for _, g := range p.groups {
		p.activate(g)
	}
	p.recordBroken()
	step := journal.Step{Records: p.records(), Consumed: len(commands)}
	if mutant.On(mutant.RowsBeforeDurable) && p.flushDue() {
		return step, p.flush(ctx)
	}
	return step, nil
}

// handle leads one command to its run.
func (p *partition) handle(ctx context.Context, env events.Envelope) error {
	if a, ok := p.repeated(env); ok {
		if mutant.On(mutant.DropRepeatedAnswer) {
			return nil
		}
		p.reply(p.groupOfNone(env), a)
		return nil
	}
	if _, ok := env.Command.(events.StartWorkflow); ok {
		return p.start(ctx, env)
	}
	id := env.RunID
	if id.IsZero() {
		newest, ok, err := p.newestRun(ctx, env.Namespace, env.WorkflowID)
		if err != nil {
			return err
		}
		if ok {
			id = newest.RunID
		}
	}
	var e *entry
	if !id.IsZero() {
		var err error
		if e, err = p.load(ctx, id); err != nil {
			return err
		}
	}
	if e == nil || e.workflowID != env.WorkflowID || e.namespace != env.Namespace {
		g := p.groupOfNone(env)
		p.reply(g, g.answer(env, events.NotFound, notFound(env)))
		return nil
	}
	g := p.groupOf(e)
	a, ok, err := p.asked(ctx, e, env)
	if err != nil {
		return err
	}
	if ok {
		p.reply(g, a)
		return nil
	}
	return p.decide(ctx, g, env)
}

func notFound(env events.Envelope) string {
	if env.RunID.IsZero() {
		return fmt.Sprintf("no run of workflow %q is known", env.WorkflowID)
	}
	return fmt.Sprintf("workflow %q has no run %s", env.WorkflowID, env.RunID)
}

// decide has the machine decide a command to a run and applies the outcome.
func (p *partition) decide(ctx context.Context, g *group, env events.Envelope) error {
	e := g.entry
	if e.broken != nil {
		return p.decideBroken(ctx, g, env)
	}
	next := e.run.Next()
	var evs []events.Event
	var answer events.Answer
	var size int
	err := p.guarded(e.id, func() error {
		evs, answer = e.run.Decide(env, p.time)
		var big string
		if size, big = p.measure(evs); big != "" {
			evs, answer = p.decideTooLarge(e.run, env, big)
			size, _ = p.measure(evs)
		}
		return apply(e.run, evs, p.time)
	})
	if err != nil {
		p.breakRun(e, next, fmt.Sprintf("%T could not be applied: %v", env.Command, err), p.time)
		return p.decideBroken(ctx, g, env)
	}
	g.take(evs, size)
	if progress, ok := env.Command.(events.ReportProgress); ok && answer.Code == events.OK {
		e.home = 0
		if progress.OfferActivation {
			e.home = env.Session
		}
	}
	p.reply(g, answer)
	if keeps(answer) {
		g.kept = true
		return p.keep(ctx, e, answer, p.time)
	}
	return nil
}

func apply(run *machine.Run, evs []events.Event, at events.Time) error {
	for _, e := range evs {
		if err := run.Apply(e, run.Next(), at); err != nil {
			return err
		}
	}
	return nil
}

// decideTooLarge refuses what cannot be written. Progress fails its activation, so that the refusal is seen.
func (p *partition) decideTooLarge(run *machine.Run, env events.Envelope, message string) ([]events.Event, events.Answer) {
	a := events.Answer{
		RequestID: env.RequestID, Session: env.Session, N: env.N, Code: events.PayloadTooLarge, Message: message, RunID: run.ID(),
	}
	progress, ok := env.Command.(events.ReportProgress)
	if !ok {
		return nil, a
	}
	env.Command = events.FailActivation{
		Activation: progress.Activation, Attempt: progress.Attempt, Build: progress.Build, Worker: progress.Worker,
		Failure: events.Failure{Code: events.CodePayloadTooLarge, Message: message},
	}
	evs, _ := run.Decide(env, p.time)
	return evs, a
}

// start decides a StartWorkflow: it may concern the run in the way and the run to be made.
func (p *partition) start(ctx context.Context, env events.Envelope) error {
	same, err := p.load(ctx, env.RunID)
	if err != nil {
		return err
	}
	if same != nil && !mutant.On(mutant.SkipStartDedup) {
		p.startAgain(env, same)
		return nil
	}
	newest, taken, err := p.newestRun(ctx, env.Namespace, env.WorkflowID)
	if err != nil {
		return err
	}
	var known *machine.KnownRun
	var open *entry
	if taken {
		known = &machine.KnownRun{RunID: newest.RunID, Status: newest.Status}
		if newest.Status.Open() {
			if open, err = p.load(ctx, newest.RunID); err != nil {
				return err
			}
		}
	}
	d := machine.Start(env, p.time, open.state(), known)
	if len(d.Terminate) > 0 {
		p.terminate(p.groupOf(open), d.Terminate)
	}
	if len(d.Begin) == 0 {
		p.reply(p.groupOfNone(env), d.Answer)
		return nil
	}
	run := machine.NewRun(events.Header{Namespace: env.Namespace, WorkflowID: env.WorkflowID, RunID: env.RunID})
	e := &entry{namespace: env.Namespace, workflowID: env.WorkflowID, id: env.RunID, run: run, first: !taken}
	if taken {
		p.follows(e.id, newest.RunID, p.time)
	}
	g := p.groupOf(e)
	if err := p.guarded(e.id, func() error { return apply(run, d.Begin, p.time) }); err != nil {
		return fmt.Errorf("starting run %s: %w", e.id, err)
	}
	p.runs[e.id] = e
	p.add(g, d.Begin...)
	p.reply(g, d.Answer)
	p.newest[workflowKey{e.namespace, e.workflowID}] = runstore.Newest{RunID: e.id, Status: events.StatusRunning}
	return nil
}

// startAgain answers a start with the run id of a known run.
func (p *partition) startAgain(env events.Envelope, e *entry) {
	if e.workflowID != env.WorkflowID || e.namespace != env.Namespace {
		g := p.groupOfNone(env)
		p.reply(g, g.answer(env, events.IDTaken, fmt.Sprintf("run id %s is taken by another workflow", e.id)))
		return
	}
	g := p.groupOf(e)
	if e.broken != nil {
		a := g.answer(env, events.OK, "")
		a.Status, a.Started, a.Duplicate = events.StatusRunning, true, true
		p.reply(g, a)
		return
	}
	_, a := e.run.Decide(env, p.time)
	p.reply(g, a)
}

// terminate ends the run that a start replaces.
func (p *partition) terminate(g *group, evs []events.Event) {
	e, next := g.entry, g.entry.next()
	if err := p.guarded(e.id, func() error { return apply(e.run, evs, p.time) }); err != nil {
		p.breakRun(e, next, fmt.Sprintf("it could not be terminated: %v", err), p.time)
		return
	}
	p.add(g, evs...)
}

// state returns the run as a start needs to see it; a quarantined one is shown as open and quarantined.
func (e *entry) state() *machine.Run {
	if e == nil {
		return nil
	}
	if e.broken == nil {
		return e.run
	}
	run := machine.NewRun(events.Header{Namespace: e.namespace, WorkflowID: e.workflowID, RunID: e.id})
	if run.Apply(events.RunStarted{}, 1, 0) != nil || run.Apply(events.RunQuarantined{Reason: e.broken.reason}, 2, 0) != nil {
		panic("engine: a new run takes RunStarted and RunQuarantined")
	}
	return run
}

// newestRun returns the newest run of a workflow id.
func (p *partition) newestRun(ctx context.Context, ns events.Namespace, id events.WorkflowID) (runstore.Newest, bool, error) {
	if newest, ok := p.newest[workflowKey{ns, id}]; ok {
		return newest, true, nil
	}
	return p.deps.Runs.Newest(ctx, p.id, ns, id)
}

// activate adds the activation that a run needs after the commands of the turn.
func (p *partition) activate(g *group) {
	e := g.entry
	if e == nil || e.run == nil || len(g.events) == 0 {
		return
	}
	next := e.run.Next()
	var evs []events.Event
	err := p.guarded(e.id, func() error {
		evs = e.offered(e.run.Settle(p.time), p.time)
		return apply(e.run, evs, p.time)
	})
	if err != nil {
		p.breakRun(e, next, fmt.Sprintf("it could not be activated: %v", err), p.time)
		return
	}
	p.add(g, evs...)
}

// offered lets the run's home have a new activation first. A later attempt is for whoever the schedulers choose.
func (e *entry) offered(evs []events.Event, at events.Time) []events.Event {
	for i := range evs {
		if a, ok := evs[i].(events.ActivationScheduled); ok && a.Attempt == 1 && e.home != 0 {
			a.OfferTo, a.OfferUntil = e.home, at.Add(events.OfferFor)
			evs[i] = a
		}
	}
	return evs
}

// note keeps what an event means beyond its run's own state.
func (p *partition) note(h *events.Header, e events.Event) {
	key := workflowKey{h.Namespace, h.WorkflowID}
	switch {
	case events.EndsRun(e):
		p.ended = append(p.ended, runstore.Ended{
			RunID: h.RunID, WorkflowID: h.WorkflowID, Namespace: h.Namespace, Forget: h.Time.Add(p.options.Retention),
		})
		if newest, ok := p.newest[key]; ok && newest.RunID != h.RunID {
			return // a newer run has begun in the same turn
		}
		p.newest[key] = runstore.Newest{RunID: h.RunID, Status: events.StatusAfter(events.StatusRunning, e)}
	default:
		if _, begins := e.(events.RunStarted); begins {
			p.newest[key] = runstore.Newest{RunID: h.RunID, Status: events.StatusRunning}
		}
	}
}

// records turns the groups of the turn into records and closes them.
func (p *partition) records() []*events.Record {
	var records []*events.Record
	if len(p.groups) == 1 {
		records = p.groups[0].body.list[:0]
	} else {
		records = slices.Grow(records, len(p.groups))
	}
	for _, g := range p.groups {
		from := len(records)
		records = p.split(records, g)
		for _, r := range records[from:] {
			p.seq++
			r.Seq, r.Confirmed = p.seq, p.seq-1
			for _, e := range r.Events {
				p.note(&r.Header, e)
			}
		}
		if e := g.entry; e != nil {
			if len(g.events) > 0 || g.kept {
				e.seq, e.dirty = p.seq, e.dirty || !mutant.On(mutant.RowMissesLoneEvent) || len(g.events) > 1
			}
			e.settle()
			if !e.dirty && e.idle {
				delete(p.runs, e.id) // the run store has it
			}
			e.group = nil
		}
		*g = group{}
	}
	clear(p.ofNone)
	p.spare = append(p.spare, p.groups...)
	clear(p.groups)
	p.groups = p.groups[:0]
	p.unflushed += len(records)
	return records
}

// sortedRuns returns the entries of the cache in the order of their ids, so that what is written does not depend on chance.
func (p *partition) sortedRuns(fits func(*entry) bool) []*entry {
	var entries []*entry
	for _, e := range p.runs {
		if fits(e) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(string(a.id[:]), string(b.id[:])) })
	return entries
}

// begin returns the first step of an ownership: the record that says so.
func (p *partition) begin(now events.Time) journal.Step {
	p.time = max(p.time, now)
	if mutant.On(mutant.TimeFallsAfterRestart) {
		p.time = now
	}
	p.seq++
	p.unflushed++
	r := &events.Record{Header: events.Header{
		Partition: p.id, Epoch: p.epoch, Owner: p.owner, Seq: p.seq, Confirmed: p.seq - 1, Time: p.time, Schema: events.Schema, First: 1,
	}}
	if p.cluster == "" {
		p.cluster = p.options.Cluster
	}
	r.Events = []events.Event{events.EpochStarted{Partitions: uint16(p.deps.Log.Partitions()), Cluster: p.cluster}}
	return journal.Step{Records: []*events.Record{r}}
}

// checkLog takes over what the log says of itself.
func (p *partition) checkLog(began events.EpochStarted) error {
	if int(began.Partitions) != p.deps.Log.Partitions() {
		return &stopError{errPartitions(uint64(began.Partitions), p.deps.Log.Partitions())}
	}
	p.cluster = began.Cluster
	return nil
}

// committed does what may follow a durable step: archive it, delete what it purged, and write rows when that is due.
func (p *partition) committed(ctx context.Context, step journal.Step) error {
	if len(step.Records) > 0 {
		if err := p.deps.Archive.Append(ctx, p.id, step.Records); err != nil {
			return fmt.Errorf("archiving records: %w", err)
		}
	}
	if err := p.forget(ctx); err != nil {
		return err
	}
	if p.flushDue() {
		return p.flush(ctx)
	}
	return nil
}

// leave writes all rows at the end of an ownership, so that the next one need not fold the log.
func (p *partition) leave(ctx context.Context) error {
	if p.unflushed == 0 {
		return nil
	}
	return p.flush(ctx)
}
