package rot

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/adapter/sqlite"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// truth is what a whole store says, by what was asked.
type truth struct {
	answers map[string]string
	runs    []runOf
	blobs   []string
	model   map[events.RunID][]*events.Record
}

type runOf struct {
	partition  events.Partition
	id         events.RunID
	namespace  events.Namespace
	workflowID events.WorkflowID
}

// failed begins the answer to what could not be read.
const failed = "error: "

// learn reads everything in a whole store.
func learn(dir string) (*truth, error) {
	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		return nil, err
	}
	t := &truth{answers: map[string]string{}, model: map[events.RunID][]*events.Record{}}
	ctx := context.Background()
	for p := range events.Partition(s.Format().Partitions) {
		runs, err := s.Archive().(archive.Lister).Runs(ctx, p, events.RunID{}, 100_000)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		for _, id := range runs {
			records, err := history(s, p, id)
			if err != nil || len(records) == 0 {
				return nil, errors.Join(fmt.Errorf("the history of run %s has %d records: %w", id, len(records), err), s.Close())
			}
			t.runs = append(t.runs, runOf{p, id, records[0].Namespace, records[0].WorkflowID})
			t.model[id] = records
			for _, r := range records {
				for _, e := range r.Events {
					t.blobs = append(t.blobs, blobsOf(e)...)
				}
			}
		}
	}
	t.read(s, filepath.Join(dir, "blobs"), func(what, said string) { t.answers[what] = said })
	for what, said := range t.answers {
		if strings.HasPrefix(said, failed) {
			err = errors.Join(err, fmt.Errorf("%s: %s", what, said))
		}
	}
	return t, errors.Join(err, s.Close())
}

func history(s *pebble.Store, p events.Partition, id events.RunID) (all []*events.Record, err error) {
	for from := events.EventNumber(1); from != 0; {
		var records []*events.Record
		if records, from, err = s.Archive().History(context.Background(), p, id, from, 0, 1<<20); err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	return all, nil
}

func blobsOf(e events.Event) []string {
	var found []string
	for _, p := range []events.Payload{payload[events.RunStarted](e), payload[events.TaskScheduled](e), payload[events.TaskCompleted](e), payload[events.RunCompleted](e)} {
		if p.Blob != "" {
			found = append(found, p.Blob)
		}
	}
	return found
}

// payload returns the first payload of an event of one kind.
func payload[E any](e events.Event) events.Payload {
	of, ok := e.(E)
	if !ok {
		return events.Payload{}
	}
	for _, v := range reflect.ValueOf(of).Fields() {
		if p, ok := reflect.TypeAssert[events.Payload](v); ok {
			return p
		}
	}
	return events.Payload{}
}

// read asks a store everything that the services ask it.
func (t *truth) read(s *pebble.Store, blobs string, say func(what, said string)) {
	ctx := context.Background()
	tell := func(what string, v any, err error) {
		if err != nil {
			v = failed + err.Error()
		}
		say(what, fmt.Sprint(v))
	}
	for p := range events.Partition(s.Format().Partitions) {
		first, last := s.Journal().Bounds(p)
		tell(fmt.Sprintf("bounds of %d", p), []events.Seq{first, last}, nil)
		readLog(s, p, first, tell)
		checkpoint, err := s.RunStore().Checkpoint(ctx, p)
		tell(fmt.Sprintf("checkpoint of %d", p), checkpoint, err)
		ended, err := s.RunStore().Ended(ctx, p, 1<<60, 1<<20)
		tell(fmt.Sprintf("ended of %d", p), ended, err)
		quarantined, err := s.RunStore().Quarantined(ctx, p, 1<<20)
		tell(fmt.Sprintf("quarantined of %d", p), quarantined, err)
		position, err := s.DueIndex().Position(ctx, p)
		tell(fmt.Sprintf("scheduler of %d", p), position, err)
		for _, kind := range []dueindex.Kind{dueindex.KindTask, dueindex.KindActivation, dueindex.KindTimer} {
			due, err := s.DueIndex().Due(ctx, p, kind, dueindex.Item{}, 1<<62, 1<<20)
			tell(fmt.Sprintf("due of %d, kind %d", p, kind), due, err)
		}
	}
	for _, run := range t.runs {
		records, err := history(s, run.partition, run.id)
		text := ""
		for _, r := range records {
			text += fmt.Sprintf("%x ", events.AppendRecord(nil, r))
		}
		tell("history of "+run.id.String(), text, err)
		state, err := s.RunStore().Run(ctx, run.partition, run.id)
		tell("row of "+run.id.String(), state, err)
		newest, _, err := s.RunStore().Newest(ctx, run.partition, run.namespace, run.workflowID)
		tell("newest of "+string(run.workflowID), newest, err)
		keys, err := s.DueIndex().OfRuns(ctx, run.partition, []events.RunID{run.id}, 1000)
		tell("due of "+run.id.String(), keys, err)
	}
	store, err := files.Open(blobs)
	for _, key := range t.blobs {
		var data []byte
		if err == nil {
			data, err = store.Get(ctx, key)
		}
		tell("blob "+key, string(data), err)
		err = nil
	}
}

func readLog(s *pebble.Store, p events.Partition, first events.Seq, tell func(what string, v any, err error)) {
	r, err := s.Journal().Follow(context.Background(), []journal.Position{{Partition: p, Next: first}})
	if err != nil {
		tell(fmt.Sprintf("log of %d", p), nil, err)
		return
	}
	defer r.Close()
	text := ""
	for {
		records, err := r.TryNext(100)
		if err != nil || records == nil {
			tell(fmt.Sprintf("log of %d", p), text, err)
			return
		}
		for _, record := range records {
			text += fmt.Sprintf("%x ", events.AppendRecord(nil, record))
		}
	}
}

// compare returns what a store says otherwise than the truth, and how much of it cannot be read.
func (t *truth) compare(s *pebble.Store, blobs string, only func(what string) bool) (wrong []string, unread int) {
	said := map[string]bool{}
	t.read(s, blobs, func(what, answer string) {
		said[what] = true
		switch {
		case strings.HasPrefix(answer, failed):
			unread++
		case answer != t.answers[what] && only(what):
			wrong = append(wrong, fmt.Sprintf("%s: %.200s instead of %.200s", what, answer, t.answers[what]))
		}
	})
	for what := range t.answers {
		if !said[what] {
			wrong = append(wrong, what+" is not said")
		}
	}
	return wrong, unread
}

// compareModel opens a read model and holds its rows against the fold of the histories up to where it says it is. A model
// that knows that it is damaged says nothing: it is dropped.
func (t *truth) compareModel(path string) (wrong []string, damaged bool, err error) {
	ctx := context.Background()
	m, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	positions, err := m.Positions(ctx)
	if errors.Is(err, readmodel.ErrDamaged) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	next := map[events.Partition]events.Seq{}
	for _, p := range positions {
		next[p.Partition] = p.Next
	}
	listed, err := listAll(ctx, m)
	if errors.Is(err, readmodel.ErrDamaged) {
		return nil, true, nil
	}
	// A model that is built anew has rows, each of a whole history, before it has positions: services that were stopped
	// meanwhile leave it so.
	unfinished := len(positions) == 0
	var want []row.Run
	for _, run := range t.runs {
		var folded row.Run
		for _, r := range t.model[run.id] {
			if r.Seq < next[run.partition] || unfinished && slices.Contains(listed, run.id.String()) {
				projection.Fold(&folded, r)
			}
		}
		if !folded.RunID.IsZero() {
			want = append(want, folded)
		}
	}
	for _, w := range want {
		got, err := m.Run(ctx, w.Namespace, w.WorkflowID, w.RunID)
		if errors.Is(err, readmodel.ErrDamaged) {
			return nil, true, nil
		}
		if err != nil || !gocmp.Equal(got, w, cmpopts.EquateEmpty()) {
			wrong = append(wrong, fmt.Sprintf("row of %s: %+v instead of %+v (%v)", w.WorkflowID, got, w, err))
		}
	}
	if len(listed) != len(want) {
		wrong = append(wrong, fmt.Sprintf("%d runs are listed and %d are there (%v)", len(listed), len(want), err))
	}
	return wrong, false, nil
}

func listAll(ctx context.Context, m *sqlite.Model) (ids []string, err error) {
	filter := readmodel.Filter{Namespace: events.DefaultNamespace}
	for page := (readmodel.Page{}); ; {
		list, err := m.List(ctx, filter, page)
		if err != nil {
			return ids, err
		}
		for _, r := range list.Runs {
			ids = append(ids, r.RunID.String())
		}
		if page.Token = list.NextToken; page.Token == "" {
			return ids, nil
		}
	}
}
