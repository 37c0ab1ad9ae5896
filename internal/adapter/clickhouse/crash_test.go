package clickhouse

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector"
)

// cut is a connection that breaks at one statement and for all after it. Odd means that the server has executed that one and
// its answer is lost.
type cut struct {
	next http.RoundTripper
	left *atomic.Int64
	odd  bool
}

var errCut = errors.New("the connection is cut")

func (c cut) RoundTrip(r *http.Request) (*http.Response, error) {
	left := c.left.Add(-1)
	if left < 0 && (left < -1 || !c.odd) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errCut
	}
	answer, err := c.next.RoundTrip(r)
	if left < 0 && err == nil {
		_, _ = io.Copy(io.Discard, answer.Body) // the statement has ended
		_ = answer.Body.Close()
		return nil, errCut
	}
	return answer, err
}

// cutAfter makes the connections of a model break.
func cutAfter(o Options, statements int64, odd bool) Options {
	left := new(atomic.Int64)
	left.Store(statements)
	o.transport = func(t *http.Transport) (http.RoundTripper, error) { return cut{next: t, left: left, odd: odd}, nil }
	return o
}

// lab is a log that projectors fold into models.
type lab struct {
	t      *testing.T
	random *rand.Rand
	store  *memory.Store
	owners []journal.Owner
	last   [labPartitions]events.Seq
	next   map[events.RunID]events.EventNumber
	ended  map[events.RunID]bool
	purged map[events.RunID]bool
	log    []string // every event but purges
	now    events.Time
}

const labPartitions = 3

func newLab(t *testing.T, seed uint64) *lab {
	l := &lab{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), store: memory.New(memory.Options{Partitions: labPartitions}),
		next: map[events.RunID]events.EventNumber{}, ended: map[events.RunID]bool{}, purged: map[events.RunID]bool{}, now: events.Time(1_790_000_000_000_000),
	}
	t.Cleanup(l.store.Close)
	for p := range labPartitions {
		o, err := l.store.Journal().Acquire(t.Context(), events.Partition(p))
		if err != nil {
			t.Fatal(err)
		}
		l.owners = append(l.owners, o)
	}
	return l
}

// grow adds records of random runs.
func (l *lab) grow(records int) {
	l.t.Helper()
	for range records {
		n := l.random.IntN(60)
		run := events.RunID{0: 1, 15: byte(n)}
		p := events.Partition(n % labPartitions)
		if l.next[run] == 0 {
			l.next[run] = 1
		}
		l.now += events.Time(l.random.IntN(20_000_000))
		evs := l.events(run)
		if len(evs) == 0 {
			continue
		}
		owner := l.owners[p]
		l.last[p]++
		r := &events.Record{Events: evs, Header: events.Header{
			Partition: p, Epoch: owner.Epoch(), Owner: owner.ID(), Seq: l.last[p], Time: l.now, Schema: events.Schema,
			Namespace: "default", WorkflowID: events.WorkflowID(fmt.Sprint("wf-", n)), RunID: run, First: l.next[run],
		}}
		for i, e := range evs {
			if _, purged := e.(events.RunPurged); !purged {
				l.log = append(l.log, fmt.Sprintf("%s %04d %s T%c", r.WorkflowID, int(r.First)+i, events.EventName(e), 'a'+run[15]%3))
			}
		}
		l.next[run] += events.EventNumber(len(evs))
		if err := owner.Commit(l.t.Context(), journal.Step{Records: []*events.Record{r}}); err != nil {
			l.t.Fatal(err)
		}
	}
}

// events draws what happens to a run next: it begins, works on tasks, ends and is purged.
func (l *lab) events(run events.RunID) []events.Event {
	number := l.next[run]
	switch {
	case l.purged[run]: // a run id is used once
		return nil
	case number == 1:
		return []events.Event{
			events.RunStarted{Type: events.WorkflowType("T" + string('a'+run[15]%3)), Queue: "q"},
			events.TaskScheduled{Step: 1, Name: "charge", Queue: "q"},
		}
	case l.ended[run]:
		if l.random.IntN(3) > 0 {
			return nil
		}
		l.purged[run] = true
		return []events.Event{events.RunPurged{}}
	}
	step := events.Step(number)
	failure := events.Failure{Code: "declined", Message: fmt.Sprintf("card %d is declined", l.random.IntN(100)), Type: "*shop.Error"}
	switch l.random.IntN(6) {
	case 0:
		return []events.Event{events.TaskScheduled{Step: step, Name: "charge", Queue: "q"}, events.ViewSet{Name: "state", Value: events.Payload{Encoding: "json", Data: []byte(`"x"`)}}}
	case 1:
		return []events.Event{events.TaskScheduled{Step: step, Name: "mail", Queue: "q"}, events.TaskAttemptFailed{Step: step, Attempt: 1, Name: "mail", Queue: "q", Failure: failure}}
	case 2:
		return []events.Event{events.TaskScheduled{Step: step, Name: "mail", Queue: "q"}, events.TaskCompleted{Step: step, Attempt: 1}}
	case 3:
		return []events.Event{events.TaskCompleted{Step: 1, Attempt: 1}}
	case 4:
		return []events.Event{events.SignalReceived{Name: "s", Index: uint64(number)}}
	default:
		l.ended[run] = true
		if l.random.IntN(2) == 0 {
			return []events.Event{events.RunCompleted{Result: events.Payload{Encoding: "json", Data: []byte("7")}}}
		}
		return []events.Event{events.RunFailed{Failure: failure}}
	}
}

// fold brings a model up to the log, with batches of about so many events.
func (l *lab) fold(m readmodel.Writer, batch int) error {
	ctx := context.Background()
	p := projector.New(projector.Deps{
		Log: l.store.Journal(), Model: m, Archive: l.store.Archive(), Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
		Partitions: []events.Partition{0, 1, 2},
	}, projector.Options{Events: batch})
	s, err := p.Open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for busy := true; busy; {
		if busy, _, err = s.Step(ctx, true); err != nil {
			return err
		}
	}
	_, _, err = s.Step(ctx, true)
	return err
}

// sameHistory compares the table of events with the log, for runs that are not purged.
func (l *lab) sameHistory(m *Model) {
	l.t.Helper()
	rows, err := m.conn.Query(l.t.Context(), "SELECT workflow_id, number, toString(event), toString(type) FROM history FINAL")
	if err != nil {
		l.t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var workflow, event, of string
		var number uint64
		if err := rows.Scan(&workflow, &number, &event, &of); err != nil {
			l.t.Fatal(err)
		}
		if !l.isPurged(workflow) {
			got = append(got, fmt.Sprintf("%s %04d %s %s", workflow, number, event, of))
		}
	}
	if err := finish(rows); err != nil {
		l.t.Fatal(err)
	}
	slices.Sort(got)
	var want []string
	for _, event := range l.log {
		if workflow, _, _ := strings.Cut(event, " "); !l.isPurged(workflow) {
			want = append(want, event)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				l.t.Fatalf("history has %d events, want %d; the first that differs is %q, want %q", len(got), len(want), got[i], want[i])
			}
		}
		l.t.Fatalf("history has %d events, want %d", len(got), len(want))
	}
}

func (l *lab) isPurged(workflow string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(workflow, "wf-"))
	if err != nil {
		l.t.Fatal(err)
	}
	return l.purged[events.RunID{0: 1, 15: byte(n)}]
}

// same compares all that two models answer.
func same(t *testing.T, got, want readmodel.Model) {
	t.Helper()
	ctx := t.Context()
	list, err := want.List(ctx, readmodel.Filter{}, readmodel.Page{Limit: readmodel.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	have, err := got.List(ctx, readmodel.Filter{}, readmodel.Page{Limit: readmodel.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(have, list) {
		t.Fatalf("lists differ:\n got %+v\nwant %+v", have, list)
	}
	for _, r := range list.Runs {
		one, err := want.Run(ctx, r.Namespace, r.WorkflowID, r.RunID)
		if err != nil {
			t.Fatal(err)
		}
		other, err := got.Run(ctx, r.Namespace, r.WorkflowID, r.RunID)
		if err != nil || !reflect.DeepEqual(other, one) {
			t.Fatalf("run %s (%v):\n got %+v\nwant %+v", r.RunID, err, other, one)
		}
	}
	counts, err := want.Count(ctx, readmodel.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if other, err := got.Count(ctx, readmodel.Filter{}); err != nil || !reflect.DeepEqual(other, counts) {
		t.Fatalf("counts (%v):\n got %v\nwant %v", err, other, counts)
	}
	for _, f := range []readmodel.StatsFilter{{}, {Every: time.Minute}} {
		steps, err := want.StepStats(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := got.StepStats(ctx, f); err != nil || !reflect.DeepEqual(other, steps) {
			t.Fatalf("steps (%v):\n got %+v\nwant %+v", err, other, steps)
		}
	}
	failures, err := want.TopErrors(ctx, readmodel.ErrorFilter{Limit: readmodel.MaxTopErrors})
	if err != nil {
		t.Fatal(err)
	}
	if other, err := got.TopErrors(ctx, readmodel.ErrorFilter{Limit: readmodel.MaxTopErrors}); err != nil || !reflect.DeepEqual(other, failures) {
		t.Fatalf("errors (%v):\n got %+v\nwant %+v", err, other, failures)
	}
	at, err := want.Watermark(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := got.Watermark(ctx); err != nil || !reflect.DeepEqual(other, at) {
		t.Fatalf("watermarks (%v):\n got %v\nwant %v", err, other, at)
	}
}

var seeds = flag.Int("seeds", 1, "how many logs are folded over connections that break")

// However often the connection breaks, at whatever statement, before or after it is executed, and however the log is cut into
// batches afterwards: the model is the fold of the log.
func TestWhatBreaksOffAnywhereIsMendedExactly(t *testing.T) {
	t.Parallel()
	s := clickhouse.Shared(t)
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			o := Options{URL: s.URL(s.NewDatabase())}
			l := newLab(t, seed)
			ends := 0
			for range 4 {
				l.grow(60)
				for life := 0; ; life++ {
					m := open(t, cutAfter(o, 8+l.random.Int64N(35), l.random.IntN(2) == 0))
					err := l.fold(m, 10+l.random.IntN(60))
					if err == nil {
						break
					}
					ends++
					if !errors.Is(err, readmodel.ErrUnavailable) {
						t.Fatalf("a cut connection: %v", err)
					}
					if life > 200 {
						t.Fatal("no progress")
					}
				}
			}
			m, want := open(t, o), memory.NewReadModel()
			if err := errors.Join(l.fold(m, 100), l.fold(want, 1000)); err != nil {
				t.Fatal(err)
			}
			same(t, m, want)
			l.sameHistory(m)
			if ends < 5 {
				t.Fatalf("only %d connections broke", ends)
			}
		})
	}
}

// While the server is away the projector waits, with what it has in hand; the log grows; when the server is back the
// model catches up by itself.
func TestTheProjectorCatchesUpAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := clickhouse.Start(t, clickhouse.Options{})
	l := newLab(t, 5)
	m := open(t, Options{URL: s.URL("continuo")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := projector.New(projector.Deps{
		Log: l.store.Journal(), Model: m, Archive: l.store.Archive(), Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler),
		Partitions: []events.Partition{0, 1, 2},
	}, projector.Options{Delay: 20 * time.Millisecond, Events: 30})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	caughtUp := func() {
		t.Helper()
		for i, last := range l.last {
			if err := m.WaitFor(ctx, events.Partition(i), last); err != nil {
				t.Fatalf("partition %d at %d: %v", i, last, err)
			}
		}
	}
	l.grow(60)
	caughtUp()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	l.grow(150)
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	caughtUp()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := memory.NewReadModel()
	if err := l.fold(want, 1000); err != nil {
		t.Fatal(err)
	}
	same(t, m, want)
	l.sameHistory(m)
}

// Two projectors that write at the same time, as when one was taken for dead, do no harm: what either writes is made of the
// log alone.
func TestTwoWritersDoNoHarm(t *testing.T) {
	t.Parallel()
	s := clickhouse.Shared(t)
	o := Options{URL: s.URL(s.NewDatabase())}
	l := newLab(t, 77)
	l.grow(20)
	models := []*Model{open(t, o), open(t, o)}
	if err := l.fold(models[0], 100); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.grow(60)
		done := make(chan error, len(models))
		for i, m := range models {
			go func() { done <- l.fold(m, 25+9*i) }()
		}
		for range models {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		want := memory.NewReadModel()
		if err := l.fold(want, 1000); err != nil {
			t.Fatal(err)
		}
		same(t, models[0], want)
		l.sameHistory(models[1])
	}
}

// A server that is killed in the middle of writing is exact when it is back, with the same model and with a new one.
func TestAServerThatIsKilledIsExactAfterwards(t *testing.T) {
	t.Parallel()
	s := clickhouse.Start(t, clickhouse.Options{})
	o := Options{URL: s.URL("continuo")}
	l := newLab(t, 9)
	m := open(t, o)
	for round := range 2 {
		l.grow(100)
		done := make(chan error, 1)
		go func() { done <- l.fold(m, 20) }()
		for at := 0; at < round*3; { // somewhere in the middle
			p, err := m.Watermark(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			at = len(p)
			if len(done) > 0 {
				break
			}
			for _, p := range p {
				at += int(p.Next) / 50
			}
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil && !errors.Is(err, readmodel.ErrUnavailable) {
			t.Fatalf("while the server was killed: %v", err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			m = open(t, o)
		}
		want := memory.NewReadModel()
		if err := errors.Join(l.fold(m, 50), l.fold(want, 1000)); err != nil {
			t.Fatal(err)
		}
		same(t, m, want)
		l.sameHistory(m)
	}
}
