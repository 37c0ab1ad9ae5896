package sim

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// answered is told of an answer that reached a client.
func (a *auditor) answered(r *request, answer events.Answer) {
	if a.w.clockGuilt-r.asked > 12*hour {
		return // by the server's clock it was repeated when nobody remembered it any more
	}
	if r.done {
		// A start that was refused is not remembered, and a signal that is to be sent again later is looked at anew.
		_, start := r.command.(events.StartWorkflow)
		later := r.code == events.RunCompleting || r.code == events.InboxFull
		if answer.Code != r.code && !start && !later {
			a.w.violate("requests", "%s: request %q was answered %s and then %s", r.client.workflow, r.id, r.code, answer.Code)
		}
		return
	}
	run := a.runs[r.run]
	switch r.command.(type) {
	case events.StartWorkflow:
		if answer.Started && (run == nil || run.next == 1) {
			a.w.violate("requests", "%s: the start of run %s is acknowledged and not in the log", r.client.workflow, r.run)
		}
	case events.SignalWorkflow:
		if answer.Code == events.OK && run.requests[r.id] == 0 {
			a.w.violate("requests", "run %s: signal %s is acknowledged and not in the log", r.run, r.id)
		}
		if answer.Code != events.OK && run != nil && run.requests[r.id] != 0 {
			a.w.violate("requests", "run %s: signal %s is answered %s and in the log", r.run, r.id, answer.Code)
		}
	case events.CancelWorkflow:
		if answer.Code == events.OK && run.cancelled != 1 {
			a.w.violate("requests", "run %s: cancel is acknowledged and not in the log", r.run)
		}
	case events.TerminateWorkflow:
		if answer.Code == events.OK && run.status.Open() {
			a.w.violate("requests", "run %s: terminate is acknowledged and the run is open", r.run)
		}
	default:
	}
}

// told is told of an end that a client was told of.
func (a *auditor) told(c *client, e events.Event, status events.Status) {
	run := a.runs[c.run]
	switch {
	case a.again[c.run]:
	case run == nil || run.status.Open():
		a.w.violate("results", "a client is told that run %s is %s, and it is open", c.run, status)
	case run.status != status || e != nil && !reflect.DeepEqual(e, run.end):
		a.w.violate("results", "a client is told that run %s is %s, and it is %s", c.run, status, run.status)
	default:
		a.judge(c, run)
	}
}

// settle lets readers come to the end of the log.
func (w *world) settle() {
	w.calm, w.crashIn = true, 0 // a crash that the storm has left behind would not be mended here
	if w.server == nil {
		return
	}
	until := w.now + 30*second
	for {
		h, ok := w.next()
		if !ok || h.at > until {
			return
		}
		w.now = max(w.now, h.at)
		h.do.happen()
	}
}

// final makes the checks of the end.
func (a *auditor) final() {
	w := a.w
	for _, c := range w.clients {
		if !c.over {
			run := a.runs[c.run]
			status := events.StatusUnknown
			if run != nil {
				status = run.status
			}
			w.violate("calm", "the client of %s still waits for run %s (%s): %s%s", c.workflow, c.run, status, w.programs[c.program], w.stuck(run))
		}
	}
	for _, run := range a.order {
		if run.status.Open() && !a.again[run.id] {
			w.violate("calm", "run %s of %s has not ended%s", run.id, run.workflow, w.stuck(run))
		}
	}
	if len(a.violations) > 0 || w.server == nil {
		return
	}
	for _, p := range w.server.parts {
		if p.step != nil {
			a.rebuilt(p)
		}
	}
	a.models()
	a.archives()
	a.index()
}

// forgotten counts the open runs that were started anew after they had been forgotten: a gateway that remembers their first
// end gives them nothing to do.
func (a *auditor) forgotten() (n int) {
	if len(a.again) == 0 {
		return 0
	}
	for _, run := range a.order {
		if run.status.Open() && a.again[run.id] {
			n++
		}
	}
	return n
}

func (w *world) stuck(run *runAudit) string {
	if run == nil {
		return ""
	}
	return "; " + run.state.Describe()
}

// rebuilt makes the state of a partition again from its checkpoint and the records after it.
func (a *auditor) rebuilt(p *partition) {
	again, err := p.step.Rebuilt(a.w.ctx)
	if err != nil {
		a.w.violate("rebuilt", "partition %d cannot be recovered: %v", p.id, err)
		return
	}
	for _, run := range a.order {
		if run.partition == p.id {
			a.same("rebuilt", run, again)
		}
	}
}

// models holds the rows of the read model against the fold of the log.
func (a *auditor) models() {
	for _, run := range a.order {
		rows, err := a.w.model.ReadModel.Rows(a.w.ctx, []events.RunID{run.id})
		switch {
		case err != nil:
			a.w.violate("model", "run %s: %v", run.id, err)
		case run.isPurged && len(rows) > 0:
			a.w.violate("model", "run %s is purged and has a row", run.id)
		case run.isPurged:
		case len(rows) == 0:
			a.w.violate("model", "run %s has no row", run.id)
		case !reflect.DeepEqual(rows[0], run.row) && !sameJSON(rows[0], run.row): // what is empty may be nil
			got, _ := json.Marshal(rows[0])
			want, _ := json.Marshal(run.row)
			a.w.violate("model", "the row of run %s is\n%s\nby the log it is\n%s", run.id, got, want)
		}
	}
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && slices.Equal(x, y)
}

// archives holds the histories against the log, and has the code of each run do all of it again.
func (a *auditor) archives() {
	w := a.w
	for _, run := range a.order {
		if run.isPurged {
			continue
		}
		records := w.history(run.partition, run.id, 1, 0)
		if len(records) != len(run.records) {
			w.violate("archive", "the history of run %s has %d records, the log %d", run.id, len(records), len(run.records))
			continue
		}
		for i, r := range records {
			if r != run.records[i] && !reflect.DeepEqual(r, run.records[i]) {
				w.violate("archive", "record %d of the history of run %s is not that of the log", i, run.id)
			}
		}
		err := replay.Check(records, func() *replay.Run {
			r, err := w.registry.NewRun(flow.RunConfig{Type: "sim.Flow", WorkflowID: run.workflow, RunID: run.id, Payloads: payloads, Threads: w.threads, Unguarded: !w.tuning.guarded})
			if err != nil {
				panic(err)
			}
			return r
		})
		if err != nil {
			w.violate("deterministic", "the history of run %s does not replay: %v", run.id, err)
		}
	}
}

// index holds the due index against the fold of the log. At the end nothing is open, so it is empty.
func (a *auditor) index() {
	w := a.w
	d := w.server.scheduler
	if d.step == nil {
		return
	}
	for range 100 {
		busy, _, err := d.step.Step(w.ctx)
		if err != nil {
			d.failed(err)
			return
		}
		if !busy {
			break
		}
	}
	if err := d.step.Flush(w.ctx); err != nil {
		d.failed(err)
		return
	}
	want := map[events.Partition]map[dueindex.Key]bool{}
	for _, p := range w.allPartitions() {
		want[p] = map[dueindex.Key]bool{}
	}
	for _, run := range a.order {
		if run.status.Open() {
			a.openItems(run, want[run.partition])
		}
	}
	for _, p := range w.allPartitions() {
		a.indexOf(p, want[p])
	}
}

// openItems collects the keys that a run has in the index. Those of schedule-to-start and schedule-to-close timers are not
// among them: the scheduler forgets the first when it delivers.
func (a *auditor) openItems(run *runAudit, into map[dueindex.Key]bool) {
	for step, t := range run.tasks {
		if t.closed == "" {
			into[dueindex.Key{Kind: dueindex.KindTask, RunID: run.id, Timer: events.TimerID{Step: step}}] = true
		}
	}
	for id := range run.timers {
		into[dueindex.Key{Kind: dueindex.KindTimer, RunID: run.id, Timer: id}] = true
	}
	if run.deadline != 0 {
		into[dueindex.Key{Kind: dueindex.KindTimer, RunID: run.id, Timer: events.TimerID{Kind: events.TimerRunTimeout}}] = true
	}
	if run.activation.number != 0 {
		into[dueindex.Key{Kind: dueindex.KindActivation, RunID: run.id}] = true
	}
}

func (a *auditor) indexOf(p events.Partition, want map[dueindex.Key]bool) {
	w := a.w
	index := w.store.DueIndex()
	next, err := index.Position(w.ctx, p)
	if err != nil || next != a.parts[p].seq+1 {
		w.violate("index", "the index of partition %d is at %d, its log at %d (%v)", p, next, a.parts[p].seq, err)
		return
	}
	found := 0
	for _, kind := range []dueindex.Kind{dueindex.KindTask, dueindex.KindActivation, dueindex.KindTimer} {
		items, err := index.Due(w.ctx, p, kind, dueindex.Item{}, 1<<62, 1<<30)
		if err != nil {
			w.violate("index", "partition %d: %v", p, err)
		}
		for _, item := range items {
			switch {
			case want[item.Key]:
				found++
			case item.Key.Timer.Kind == events.TimerScheduleToStart || item.Key.Timer.Kind == events.TimerScheduleToClose:
				run := a.runs[item.Key.RunID]
				if run == nil || !run.status.Open() || run.tasks[item.Key.Timer.Step].closed != "" {
					w.violate("index", "partition %d has a timer of what is over: %+v", p, item.Key)
				}
			default:
				w.violate("index", "partition %d has what is not open: %+v", p, item.Key)
			}
		}
	}
	if found != len(want) {
		w.violate("index", "partition %d has %d of the %d open items", p, found, len(want))
	}
}

// scheduleChecks makes, at random times, the checks that cost more.
func (w *world) scheduleChecks() {
	w.after(second+w.rng.Int64N(20*second), kindCheck, func() {
		if w.calm {
			return
		}
		if s := w.server; s != nil {
			if p := s.parts[w.rng.IntN(len(s.parts))]; p.step != nil {
				w.audit.rebuilt(p)
			}
			if w.rng.IntN(3) == 0 && w.crashIn == 0 {
				w.audit.index()
			}
		}
		w.scheduleChecks()
	})
}
