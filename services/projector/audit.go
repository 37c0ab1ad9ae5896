package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/projector/projection"
)

// AuditDeps are what an audit reads. It writes nothing. Archive must be an [archive.Lister].
type AuditDeps struct {
	Log        journal.Follower
	Archive    archive.Archive
	Model      readmodel.Model
	Partitions []events.Partition
}

// Difference is something in the model that is not as the log and the archive say.
type Difference struct {
	RunID      events.RunID
	WorkflowID events.WorkflowID
	// Field is that of the row; "row" means the whole.
	Field string
	// Has is what the model has, Should what it should have, clipped to a line.
	Has, Should string
}

// Audited is what an audit looked at.
type Audited struct {
	// Positions are those that the model had at the beginning; everything before them had to be in it.
	Positions []readmodel.Position
	// Runs is how many runs were compared, Differences how many differences were found.
	Runs, Differences int
}

// Audit compares the model with the fold of archive and log: every row with its run's history up to the row's own version,
// which has to include everything before the model's positions, and every history with a row. It may run while the model is
// written and runs are deleted. The statistics and the events that some models keep beside the rows are not compared.
func Audit(ctx context.Context, d AuditDeps, report func(Difference)) (Audited, error) {
	lister, ok := d.Archive.(archive.Lister)
	if !ok {
		return Audited{}, errors.New("audit: the archive cannot list runs")
	}
	at, err := d.Model.Watermark(ctx)
	if err != nil {
		return Audited{}, fmt.Errorf("positions of the read model: %w", err)
	}
	a := &audit{AuditDeps: d, next: make(map[events.Partition]events.Seq), report: report}
	a.done.Positions = at
	for _, position := range at {
		a.next[position.Partition] = position.Next
	}
	if err := a.rows(ctx); err != nil {
		return a.done, err
	}
	for _, p := range d.Partitions {
		if err := a.missing(ctx, p, lister); err != nil {
			return a.done, err
		}
	}
	return a.done, nil
}

// audit is one comparison.
type audit struct {
	AuditDeps

	next   map[events.Partition]events.Seq
	told   map[events.RunID]bool // those of the partition that is looked at of which no row is there
	report func(Difference)
	done   Audited
}

func (a *audit) differs(run row.Run, field, has, should string) {
	a.done.Differences++
	a.report(Difference{RunID: run.RunID, WorkflowID: run.WorkflowID, Field: field, Has: has, Should: should})
}

// rows compares every row of the model with the history of its run.
func (a *audit) rows(ctx context.Context) error {
	for page := (readmodel.Page{Limit: readmodel.MaxPage}); ; {
		list, err := a.Model.List(ctx, readmodel.Filter{}, page)
		if err != nil {
			return fmt.Errorf("runs of the read model: %w", err)
		}
		ids := make([]events.RunID, 0, len(list.Runs))
		for i := range list.Runs {
			ids = append(ids, list.Runs[i].RunID)
		}
		stored, err := a.Model.Rows(ctx, ids)
		if err != nil {
			return fmt.Errorf("rows of the read model: %w", err)
		}
		for i := range stored {
			if err := a.row(ctx, &stored[i]); err != nil {
				return err
			}
		}
		if page.Token = list.NextToken; page.Token == "" {
			return nil
		}
	}
}

// row compares one row.
func (a *audit) row(ctx context.Context, has *row.Run) error {
	a.done.Runs++
	if !slices.Contains(a.Partitions, has.Partition) {
		a.differs(*has, "Partition", fmt.Sprint(has.Partition), fmt.Sprintf("one of %d", len(a.Partitions)))
		return nil
	}
	should, before, err := a.fold(ctx, has.Partition, has.RunID, has.Version)
	if err != nil {
		return err
	}
	switch {
	case before.RunID.IsZero() && should.RunID.IsZero():
		purged, err := a.purged(ctx, has.Partition, has.RunID)
		if err != nil || purged {
			return err
		}
		a.differs(*has, "row", "version "+fmt.Sprint(has.Version), "no such run")
	case has.Version < before.Version:
		a.differs(*has, "Version", fmt.Sprint(has.Version), "at least "+fmt.Sprint(before.Version))
	}
	if should.RunID.IsZero() {
		return nil
	}
	old, is := reflect.ValueOf(*has), reflect.ValueOf(should)
	for i := range is.NumField() {
		if !same(old.Field(i), is.Field(i)) {
			a.differs(*has, is.Type().Field(i).Name, text(old.Field(i)), text(is.Field(i)))
		}
	}
	return nil
}

// fold returns the row of a run by its history: up to a version, and up to the model's positions. They are zero where the
// history has nothing, and where it says that everything of the run is deleted.
func (a *audit) fold(ctx context.Context, p events.Partition, run events.RunID, version events.EventNumber) (to, before row.Run, err error) {
	for from := events.EventNumber(1); from != 0; {
		records, next, err := a.Archive.History(ctx, p, run, from, 0, historyBytes)
		if errors.Is(err, archive.ErrNotFound) {
			return row.Run{}, row.Run{}, nil
		}
		if err != nil {
			return to, before, fmt.Errorf("history of run %s: %w", run, err)
		}
		for _, r := range records {
			if projection.Purges(r) {
				return row.Run{}, row.Run{}, nil
			}
			if r.First <= version {
				projection.Fold(&to, r)
			}
			if r.Seq < a.next[p] {
				before.RunID, before.WorkflowID = r.RunID, r.WorkflowID
				before.Version = max(before.Version, r.First+events.EventNumber(len(r.Events))-1)
			}
		}
		from = next
	}
	return to, before, nil
}

// trimTries is how often a partition is looked at again because its log was trimmed meanwhile.
const trimTries = 10

// missing looks for runs that the archive or the log has and the model has not. What the log has lost meanwhile has gone into
// the archive, so that is listed again.
func (a *audit) missing(ctx context.Context, p events.Partition, lister archive.Lister) (err error) {
	a.told = map[events.RunID]bool{}
	for range trimTries {
		if err = a.lookFor(ctx, p, lister); !errors.Is(err, journal.ErrTrimmed) {
			break
		}
	}
	return err
}

func (a *audit) lookFor(ctx context.Context, p events.Partition, lister archive.Lister) error {
	var after events.RunID
	for {
		runs, err := lister.Runs(ctx, p, after, runsPerBatch)
		if err != nil {
			return fmt.Errorf("runs in the archive of partition %d: %w", p, err)
		}
		if err := a.found(ctx, p, runs, nil); err != nil {
			return err
		}
		if len(runs) < runsPerBatch {
			break
		}
		after = runs[len(runs)-1]
	}
	var runs []events.RunID
	err := a.records(ctx, p, 1, a.next[p], func(r *events.Record) error {
		if r.First != 1 || len(r.Events) == 0 || r.RunID.IsZero() {
			return nil // one that began earlier is in the archive
		}
		if runs = append(runs, r.RunID); len(runs) < runsPerBatch {
			return nil
		}
		err := a.found(ctx, p, runs, lister)
		runs = runs[:0]
		return err
	})
	if err != nil {
		return err
	}
	return a.found(ctx, p, runs, lister)
}

// found reports those of the runs that the model should have and has not, but those that are listed.
func (a *audit) found(ctx context.Context, p events.Partition, runs []events.RunID, but archive.Lister) error {
	if len(runs) == 0 {
		return nil
	}
	rows, err := a.Model.Rows(ctx, runs)
	if err != nil {
		return fmt.Errorf("rows of the read model: %w", err)
	}
	has := make(map[events.RunID]bool, len(rows))
	for i := range rows {
		has[rows[i].RunID] = true
	}
	for _, run := range runs {
		if has[run] {
			continue
		}
		_, before, err := a.fold(ctx, p, run, 0)
		if err != nil {
			return err
		}
		if before.Version > 0 && but != nil {
			listed, err := but.Runs(ctx, p, below(run), 1)
			if err != nil {
				return fmt.Errorf("runs in the archive of partition %d: %w", p, err)
			}
			if len(listed) > 0 && listed[0] == run {
				continue
			}
		}
		if before.Version > 0 && !a.told[run] {
			a.told[run] = true
			a.done.Runs++
			a.differs(before, "row", "none", "version "+fmt.Sprint(before.Version)+" at least")
		}
	}
	return nil
}

// below is the id before one that is not zero.
func below(run events.RunID) events.RunID {
	for i := len(run) - 1; i >= 0; i-- {
		if run[i]--; run[i] != 0xff {
			break
		}
	}
	return run
}

// purged reports whether the log that the model need not have says that everything of the run is deleted.
func (a *audit) purged(ctx context.Context, p events.Partition, run events.RunID) (purged bool, err error) {
	_, last := a.Log.Bounds(p)
	err = a.records(ctx, p, a.next[p], last+1, func(r *events.Record) error {
		purged = purged || r.RunID == run && projection.Purges(r)
		return nil
	})
	if errors.Is(err, journal.ErrTrimmed) { // so the model has what the log has lost
		rows, err := a.Model.Rows(ctx, []events.RunID{run})
		if err != nil {
			return false, fmt.Errorf("rows of the read model: %w", err)
		}
		return len(rows) == 0, nil
	}
	return purged, err
}

// records calls visit with the records of the log from from, or where it begins, to before end.
func (a *audit) records(ctx context.Context, p events.Partition, from, end events.Seq, visit func(*events.Record) error) error {
	first, last := a.Log.Bounds(p)
	from, end = max(from, first, 1), min(end, last+1)
	if from >= end {
		return nil
	}
	reader, err := a.Log.Follow(ctx, []journal.Position{{Partition: p, Next: from}})
	if err != nil {
		return fmt.Errorf("read partition %d of the log: %w", p, err)
	}
	defer reader.Close()
	for from < end {
		records, err := reader.Next(ctx, recordsPerTurn)
		if err != nil {
			return fmt.Errorf("read partition %d of the log: %w", p, err)
		}
		for _, r := range records {
			if from = r.Seq + 1; r.Seq >= end {
				break
			}
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// same compares values of rows; an empty list is as good as none.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	default:
		return a.Interface() == b.Interface()
	}
}

// maxText is how much of a value a difference shows, in characters.
const maxText = 160

// text is a value on a line.
func text(v reflect.Value) string {
	var s string
	switch v.Kind() {
	case reflect.Slice, reflect.Struct, reflect.Pointer:
		b, err := json.Marshal(v.Interface())
		if s = string(b); err != nil {
			s = fmt.Sprint(v.Interface())
		}
	default:
		s = fmt.Sprint(v.Interface())
	}
	if runes := []rune(s); len(runes) > maxText {
		s = string(runes[:maxText]) + "…"
	}
	if s == "" {
		return `""`
	}
	return s
}
