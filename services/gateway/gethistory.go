package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/archive"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of a page of history.
const (
	defaultHistoryPage = 1000
	maxHistoryPage     = 10_000
	historyPageBytes   = 1 << 20
)

// watchers are calls that wait for the next event of a run.
type watchers struct {
	mu   sync.Mutex
	runs map[events.RunID]*watch
}

// watch is closed by the next record with events of its run.
type watch struct {
	news  chan struct{}
	calls int
}

// on begins to watch a run; off ends it.
func (w *watchers) on(run events.RunID) (news <-chan struct{}, off func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	entry := w.runs[run]
	if entry == nil {
		entry = &watch{news: make(chan struct{})}
		w.runs[run] = entry
	}
	entry.calls++
	return entry.news, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if entry.calls--; entry.calls == 0 && w.runs[run] == entry {
			delete(w.runs, run)
		}
	}
}

// note wakes those who watch the record's run.
func (w *watchers) note(r *events.Record) {
	if len(r.Events) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if entry := w.runs[r.RunID]; entry != nil {
		close(entry.news)
		delete(w.runs, r.RunID)
	}
}

// GetHistory returns events of a run, from the archive and the log.
func (s service) GetHistory(ctx context.Context, r *apiv1.GetHistoryRequest) (*apiv1.GetHistoryResponse, error) {
	response, err := s.history(ctx, r)
	return response, asStatus(err)
}

func (g *Gateway) history(ctx context.Context, r *apiv1.GetHistoryRequest) (*apiv1.GetHistoryResponse, error) {
	var (
		t   target
		err error
	)
	if t.namespace, t.workflow, t.run, err = wire.FromTarget(r.GetNamespace(), r.GetWorkflowId(), r.GetRunId()); err != nil {
		return nil, err
	}
	wait, err := waitTime(r.GetWait())
	if err != nil {
		return nil, err
	}
	size := int(r.GetPageSize())
	switch {
	case size == 0:
		size = defaultHistoryPage
	case size < 0 || size > maxHistoryPage:
		return nil, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("page_size is %d; it is 1 to %d", size, maxHistoryPage)}
	}
	if t.run.IsZero() {
		run, err := g.readRun(ctx, t, nil)
		if err != nil {
			return nil, err
		}
		t.run = run.RunID
	}
	from := max(events.EventNumber(r.GetFromEvent()), 1)
	deadline := g.deps.Clock.NewTimer(wait)
	defer deadline.Stop()
	for {
		news, off := g.watches.on(t.run)
		page, err := g.historyPage(ctx, t, from, size)
		if err == nil && len(page.records) == 0 && page.next != 0 && wait > 0 {
			wait, err = g.awaitNews(ctx, news, deadline.C(), wait)
			off()
			if err != nil {
				return nil, err
			}
			continue
		}
		off()
		if err != nil {
			return nil, err
		}
		return g.historyResponse(ctx, t, page)
	}
}

// awaitNews waits for news of a run; it returns 0 when the time is up.
func (g *Gateway) awaitNews(ctx context.Context, news <-chan struct{}, deadline <-chan time.Time, wait time.Duration) (time.Duration, error) {
	select {
	case <-news:
		return wait, nil
	case <-deadline:
	case <-g.drained:
	case <-g.stopped:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return 0, nil
}

// historyPage is a stretch of a history with its payloads.
type historyPage struct {
	records []*events.Record
	next    events.EventNumber // 0 when the run has ended and there is no more
}

func (g *Gateway) historyPage(ctx context.Context, t target, from events.EventNumber, size int) (historyPage, error) {
	page := historyPage{next: from}
	p := g.partition(t)
	bytes, count := 0, 0
	for at := from; at != 0 && count < size && bytes < historyPageBytes; {
		records, after, err := g.deps.Archive.History(ctx, p, t.run, at, 0, historyPageBytes)
		if errors.Is(err, archive.ErrNotFound) {
			return page, notFound(t)
		}
		if err != nil {
			return page, fmt.Errorf("read the history of run %s: %w", t.run, err)
		}
		for _, r := range records {
			if r.WorkflowID != t.workflow || r.Namespace != t.namespace {
				return page, notFound(t)
			}
			full, err := g.resolve(ctx, r, everything)
			if err != nil {
				return page, err
			}
			for _, part := range split(full, at, r.Last()) {
				if count >= size || bytes >= historyPageBytes {
					return page, nil
				}
				if room := size - count; len(part.Events) > room {
					part = clip(part, part.First, part.First+events.EventNumber(room)-1)
				}
				page.records = append(page.records, part)
				count += len(part.Events)
				bytes += recordBytes(part)
				page.next = part.Last() + 1
			}
		}
		at = after
	}
	ended, err := g.endsBefore(ctx, p, t.run, page)
	if ended {
		page.next = 0
	}
	return page, err
}

// endsBefore reports whether the run has ended before the page's next event, and there is no more.
func (g *Gateway) endsBefore(ctx context.Context, p events.Partition, run events.RunID, page historyPage) (bool, error) {
	if page.next <= 1 {
		return false, nil
	}
	last, _, err := g.eventAt(ctx, p, run, page.next-1)
	if errors.Is(err, archive.ErrNotFound) {
		return false, &events.Error{Code: events.InvalidArgument, RunID: run, Message: fmt.Sprintf("from_event is %d, and run %s has fewer events", page.next, run)}
	}
	if err != nil || !events.EndsRun(last) {
		return false, err
	}
	_, _, err = g.eventAt(ctx, p, run, page.next)
	return errors.Is(err, archive.ErrNotFound), nil
}

func (g *Gateway) historyResponse(ctx context.Context, t target, page historyPage) (*apiv1.GetHistoryResponse, error) {
	info := events.HistoryInfo{Namespace: t.namespace, WorkflowID: t.workflow, RunID: t.run}
	var err error
	if info.Type, err = g.workflowType(ctx, g.partition(t), t.run); err != nil {
		return nil, err
	}
	if run, err := g.deps.Reader.Run(ctx, t.namespace, t.workflow, t.run); err == nil {
		info.Status = run.Status
	}
	for _, r := range page.records {
		for _, e := range r.Events {
			info.Status = events.StatusAfter(info.Status, e)
		}
	}
	if info.Status == events.StatusUnknown {
		info.Status = events.StatusRunning
	}
	document, err := events.MarshalHistory(info, page.records)
	if err != nil {
		return nil, fmt.Errorf("write the history of run %s: %w", t.run, err)
	}
	return &apiv1.GetHistoryResponse{
		RunId: t.run.String(), History: &apiv1.Payload{Encoding: events.EncodingJSON, Data: document}, NextEvent: uint64(page.next),
	}, nil
}
