package readmodeltest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// dawn is when the outcomes of the tests begin: in the middle of an hour.
const dawn = events.Time(1_790_000_000_000_000)

// outcomes are what became of many tasks within three hours, in two partitions.
func outcomes() []row.Outcome {
	var out []row.Outcome
	for i := range 240 {
		o := row.Outcome{
			Kind:      []row.OutcomeKind{row.TaskDone, row.TaskDone, row.TaskDone, row.TaskRetried, row.TaskFailed, row.RunFailed, row.StepFailed, row.CodeFailed}[i%8],
			Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(fmt.Sprint("wf-", i%7)), RunID: id(i % 7), Number: events.EventNumber(i + 2),
			Type: []events.WorkflowType{"billing.Monthly", "hello.Greet"}[i/8%2], Time: dawn.Add(time.Duration(i) * 45 * time.Second),
			Partition: events.Partition(i % 2), Seq: events.Seq(i/2 + 1),
		}
		switch o.Kind {
		case row.TaskDone:
			o.Name, o.Took = []events.TaskName{"charge", "mail"}[i/16%2], int64(1000+i*i*37)
		case row.TaskRetried, row.TaskFailed:
			o.Name, o.Failure = "charge", &events.Failure{Code: "declined", Message: fmt.Sprintf("card %d is declined\nstack", i)}
		case row.StepFailed:
			o.Name, o.Failure = "rate – été", &events.Failure{Message: "it's \t away"}
		case row.CodeFailed, row.RunFailed:
			o.Failure = &events.Failure{Code: []string{"panic", "worker_lost"}[i/8%2], Message: "why"}
		}
		if i%11 == 0 {
			o.Namespace = "other"
		}
		out = append(out, o)
	}
	return out
}

// inBatches cuts outcomes into batches, each with the positions that it brings the model to.
func inBatches(all []row.Outcome, size int) []readmodel.Batch {
	var out []readmodel.Batch
	for chunk := range slices.Chunk(all, size) {
		b := readmodel.Batch{Outcomes: chunk}
		for p := range events.Partition(2) {
			next := events.Seq(0)
			for _, o := range chunk {
				if o.Partition == p {
					next = o.Seq + 1
				}
			}
			if next > 0 {
				b.Positions = append(b.Positions, readmodel.Position{Partition: p, Next: next, Time: chunk[len(chunk)-1].Time})
			}
		}
		out = append(out, b)
	}
	return out
}

func statistics(t *testing.T, m readmodel.Model) {
	all := outcomes()
	for _, b := range inBatches(all, 50) {
		apply(t, m, b)
	}
	checkStats(t, m, all)
}

// countedOnce applies batches again, and batches that begin in the middle of what was counted.
func countedOnce(t *testing.T, m readmodel.Model) {
	all := outcomes()
	for _, b := range inBatches(all[:120], 60) {
		apply(t, m, b)
		apply(t, m, b)
	}
	for _, b := range inBatches(all[90:], 75) {
		apply(t, m, b)
	}
	checkStats(t, m, all)
}

// built applies outcomes of whole histories, in no order, and then those of the log.
func built(t *testing.T, m readmodel.Model) {
	all := outcomes()
	old := slices.Clone(all[:100])
	for i := range old {
		old[i].Seq = 0
	}
	slices.SortStableFunc(old, func(a, b row.Outcome) int { return slices.Compare(a.RunID[:], b.RunID[:]) })
	for chunk := range slices.Chunk(old, 30) {
		apply(t, m, readmodel.Batch{Outcomes: chunk})
	}
	for _, b := range inBatches(all[100:], 70) {
		apply(t, m, b)
	}
	checkStats(t, m, all)
	if err := m.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkStats(t, m, nil)
}

func checkStats(t *testing.T, m readmodel.Model, all []row.Outcome) {
	t.Helper()
	for _, f := range []readmodel.StatsFilter{
		{},
		{Namespace: "default"},
		{Namespace: "other", Every: time.Minute},
		{Type: "hello.Greet", Every: time.Hour},
		{Task: "mail", Every: 7 * time.Minute},
		{From: dawn.Add(30*time.Minute + 1), To: dawn.Add(time.Hour), Every: time.Minute},
		{Namespace: "default", Type: "billing.Monthly", Task: "charge", From: dawn.Add(time.Hour)},
		{To: 1},
	} {
		got, err := m.StepStats(t.Context(), f)
		if err != nil {
			t.Fatalf("StepStats(%+v): %v", f, err)
		}
		checkSteps(t, f, got, all)
	}
	for _, f := range []readmodel.ErrorFilter{
		{},
		{Limit: 2},
		{Namespace: "default", Type: "hello.Greet"},
		{Namespace: "other", From: dawn.Add(time.Hour)},
		{From: dawn.Add(-time.Hour), To: dawn.Add(time.Minute)},
	} {
		got, err := m.TopErrors(t.Context(), f)
		if err != nil {
			t.Fatalf("TopErrors(%+v): %v", f, err)
		}
		checkErrors(t, f, got, all)
	}
}

// checkSteps compares an answer with a plain count.
func checkSteps(t *testing.T, f readmodel.StatsFilter, got []readmodel.StepStats, all []row.Outcome) {
	t.Helper()
	type group struct {
		start events.Time
		of    events.WorkflowType
		task  events.TaskName
	}
	want, took := map[group]readmodel.StepStats{}, map[group][]int64{}
	minute := func(t events.Time) events.Time { return t / row.Minute * row.Minute }
	for _, o := range all {
		if o.Kind > row.TaskRetried || f.Namespace != "" && o.Namespace != f.Namespace || f.Type != "" && o.Type != f.Type || f.Task != "" && o.Name != f.Task ||
			minute(o.Time) < minute(f.From) || f.To != 0 && minute(o.Time) >= f.To {
			continue
		}
		g := group{0, o.Type, o.Name}
		if f.Every > 0 {
			g.start = o.Time / events.Time(f.Every.Microseconds()) * events.Time(f.Every.Microseconds())
		}
		s := want[g]
		s.Start, s.Type, s.Task = g.start, g.of, g.task
		switch o.Kind {
		case row.TaskDone:
			s.Done++
			took[g] = append(took[g], o.Took)
		case row.TaskFailed:
			s.Failed++
		default:
			s.Retried++
		}
		want[g] = s
	}
	if len(got) != len(want) {
		t.Fatalf("StepStats(%+v) has %d rows, want %d", f, len(got), len(want))
	}
	if !slices.IsSortedFunc(got, func(a, b readmodel.StepStats) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Task, b.Task))
	}) {
		t.Fatalf("StepStats(%+v) is not sorted", f)
	}
	for _, s := range got {
		g := group{s.Start, s.Type, s.Task}
		w, durations := want[g], took[g]
		if s.Done != w.Done || s.Failed != w.Failed || s.Retried != w.Retried {
			t.Fatalf("StepStats(%+v): %+v, want %+v", f, s, w)
		}
		slices.Sort(durations)
		var sum int64
		for _, d := range durations {
			sum += d
		}
		for _, p := range []struct {
			got  time.Duration
			q    float64
			over float64
		}{{s.P50, 0.5, 1.02}, {s.P95, 0.95, 1.02}, {s.P99, 0.99, 1.02}, {s.Max, 1, 1}} {
			exact := time.Duration(0)
			if n := len(durations); n > 0 {
				exact = time.Duration(durations[int(math.Ceil(p.q*float64(n)))-1]) * time.Microsecond
			}
			if p.got < exact || float64(p.got) > float64(exact)*p.over+1000 {
				t.Fatalf("StepStats(%+v): p%g of %+v is %s, want %s", f, p.q*100, g, p.got, exact)
			}
		}
		if n := int64(len(durations)); n > 0 && s.Mean != time.Duration(sum/n)*time.Microsecond {
			t.Fatalf("StepStats(%+v): the mean of %+v is %s", f, g, s.Mean)
		}
	}
}

// checkErrors compares an answer with a plain count.
func checkErrors(t *testing.T, f readmodel.ErrorFilter, got []readmodel.ErrorCount, all []row.Outcome) {
	t.Helper()
	want := map[readmodel.ErrorCount]row.Errors{}
	hour := func(t events.Time) events.Time { return t / row.Hour * row.Hour }
	for _, o := range all {
		if o.Failure == nil || f.Namespace != "" && o.Namespace != f.Namespace || f.Type != "" && o.Type != f.Type || hour(o.Time) < hour(f.From) ||
			f.To != 0 && hour(o.Time) >= f.To {
			continue
		}
		g := readmodel.ErrorCount{Of: o.Kind.String(), Type: o.Type, Name: o.Name, Code: o.Failure.Code, Message: row.Fingerprint(o.Failure.Message)}
		e := want[g]
		e.Count++
		e.Last, e.Run, e.WorkflowID = o.Time, o.RunID, o.WorkflowID // they come in the order of time
		want[g] = e
	}
	var list []readmodel.ErrorCount
	for g, e := range want {
		g.Errors = e
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b readmodel.ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	if f.Limit > 0 {
		list = list[:min(len(list), f.Limit)]
	}
	if !slices.Equal(got, list) {
		t.Fatalf("TopErrors(%+v):\n got %+v\nwant %+v", f, got, list)
	}
}

// badStats asks what cannot be answered.
func badStats(t *testing.T, m readmodel.Model) {
	for _, every := range []time.Duration{-time.Minute, 90 * time.Second} {
		if _, err := m.StepStats(t.Context(), readmodel.StatsFilter{Every: every}); !errors.Is(err, readmodel.ErrBadStats) {
			t.Errorf("spans of %s: %v", every, err)
		}
	}
	for _, limit := range []int{-1, readmodel.MaxTopErrors + 1} {
		if _, err := m.TopErrors(t.Context(), readmodel.ErrorFilter{Limit: limit}); !errors.Is(err, readmodel.ErrBadStats) {
			t.Errorf("a limit of %d: %v", limit, err)
		}
	}
	var many []row.Outcome
	for i := range readmodel.MaxStats + 1 {
		many = append(many, row.Outcome{Kind: row.TaskDone, Namespace: "default", Name: "t", Time: dawn.Add(time.Duration(i) * time.Minute), Seq: events.Seq(i + 1)})
	}
	apply(t, m, readmodel.Batch{Outcomes: many, Positions: []readmodel.Position{{Next: events.Seq(len(many) + 1)}}})
	if _, err := m.StepStats(t.Context(), readmodel.StatsFilter{Every: time.Minute}); !errors.Is(err, readmodel.ErrTooMuch) {
		t.Errorf("%d rows: %v", len(many), err)
	}
	if got, err := m.StepStats(t.Context(), readmodel.StatsFilter{}); err != nil || len(got) != 1 || got[0].Done != uint64(len(many)) {
		t.Errorf("in one row: %+v (%v)", got, err)
	}
}
