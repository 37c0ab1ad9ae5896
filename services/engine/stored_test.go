package engine

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// readsOf counts the rows of runs that are read.
type readsOf struct {
	runstore.Store
	runs, answers int
}

func (r *readsOf) Run(ctx context.Context, p events.Partition, id events.RunID) ([]byte, error) {
	r.runs++
	return r.Store.Run(ctx, p, id)
}

func (r *readsOf) Answer(ctx context.Context, p events.Partition, id events.RunID, request events.RequestID) (runstore.KeptAnswer, bool, error) {
	r.answers++
	return r.Store.Answer(ctx, p, id, request)
}

// TestAnswersAreLookedForWhereTheyCanBe sends requests to the newest of several runs of a workflow id.
func TestAnswersAreLookedForWhereTheyCanBe(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	id := events.WorkflowID("w")
	const runs = 4
	for n := 1; n <= runs; n++ {
		env := start(n)
		env.WorkflowID = id
		d.do(env)
		end := to(n, events.TerminateWorkflow{})
		if end.WorkflowID = id; n < runs {
			d.do(end)
		}
	}
	reads := &readsOf{Store: d.core.deps.Runs}
	d.core.deps.Runs = reads
	ask := func(request string, wanted int) {
		t.Helper()
		before := reads.answers
		env := requested(signal(runs, "go"), request)
		env.WorkflowID, env.RunID = id, events.RunID{}
		equal(t, "answer", codes(d.do(env)), "ok")
		equal(t, "answers read for "+request, reads.answers-before, wanted)
	}
	ask("before the first flush", 0)
	d.must(d.core.flush(t.Context()))
	d.core.evictAll()
	ask("while the runs before are not known", 2*runs)
	ask("when they are", runs)
	d.must(d.core.flush(t.Context()))
	ask("after another flush", runs)
}

// TestNewRunsAreNotLookedFor starts runs whose ids the run store cannot have, and others.
func TestNewRunsAreNotLookedFor(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	reads := &readsOf{}
	watch := func() {
		reads = &readsOf{Store: d.core.deps.Runs}
		d.core.deps.Runs = reads
	}
	try := func(what string, env events.Envelope, code string, wanted int) {
		t.Helper()
		before := reads.runs
		equal(t, what, codes(d.do(env)), code)
		equal(t, what+": rows read", reads.runs-before, wanted)
	}
	hashed := start(9)
	hashed.RunID = events.RunIDFor("default", hashed.WorkflowID, "request")
	watch()
	try("a run of an empty store", start(10), "ok", 0)
	try("one with an older id", start(5), "ok", 0)
	try("one whose id has no time", hashed, "ok", 1)
	try("a command to a run that never was", signal(20, "go"), "not_found", 0)
	d.must(d.core.flush(t.Context()))
	for what, restart := range map[string]func(){"flushed": func() { d.core.evictAll() }, "recovered": func() { d.crash(1); watch() }} {
		restart()
		try(what+": the newest again", start(10), "ok+", 1)
		try(what+": the older one again", start(5), "ok+", 1)
		try(what+": a run between them that never was", signal(7, "go"), "not_found", 1)
		try(what+": a newer one that never was", signal(20, "go"), "not_found", 0)
		try(what+": the hashed one again", hashed, "ok+", 1)
		d.must(d.core.flush(t.Context()))
	}
	try("a newer run", start(11), "ok", 0)
}

// TestRunsOfAnOlderBuildAreLookedFor restores a state that does not say where the rows end.
func TestRunsOfAnOlderBuildAreLookedFor(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	d.must(d.core.flush(t.Context()))
	state := d.core.state()
	for cut := 1; cut <= len(events.RunID{}); cut++ {
		p := newPartition(0, d.deps(), Options{})
		d.must(p.restore(state[:len(state)-cut]))
		if p.stored.lacks(runID(2)) {
			t.Errorf("%d bytes of the state are missing, and run 2 is known not to be stored", cut)
		}
	}
}

// evictAll forgets all entries that the run store has.
func (p *partition) evictAll() {
	for id, e := range p.runs {
		if !e.dirty {
			delete(p.runs, id)
		}
	}
}
