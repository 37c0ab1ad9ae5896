package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/continuo-dev/continuo/internal/blobstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// progressInlineBytes bounds the payloads that one progress carries inline, so that its record stays below
// [events.MaxRecordBytes].
const progressInlineBytes = 512 << 10

// smallestSpill is the smallest payload that is moved to the blob store to make room in a record.
const smallestSpill = 1 << 10

// spill moves a payload that is too large for a record into the blob store.
func (g *Gateway) spill(ctx context.Context, ns events.Namespace, run events.RunID, p events.Payload) (events.Payload, error) {
	if len(p.Data) <= events.InlinePayloadBytes {
		return p, nil
	}
	return g.putBlob(ctx, ns, run, p)
}

func (g *Gateway) putBlob(ctx context.Context, ns events.Namespace, run events.RunID, p events.Payload) (events.Payload, error) {
	key, err := g.deps.Blobs.Put(ctx, string(ns), run.String(), p.Data)
	if err != nil {
		return p, &events.Error{Code: events.Unavailable, RunID: run, RetryAfterMs: 1000, Message: fmt.Sprintf("a payload of %d bytes could not be stored: %v", len(p.Data), err)}
	}
	g.metrics.spilled.Add(float64(len(p.Data)))
	return events.Payload{Encoding: p.Encoding, Blob: key, BlobBytes: int64(len(p.Data))}, nil
}

// spillProgress moves the large payloads of a progress into the blob store: those too large for a record, and the largest
// of the others until the rest fits into one.
func (g *Gateway) spillProgress(ctx context.Context, ns events.Namespace, run events.RunID, intents []events.Intent) error {
	total, largest := 0, 0
	for _, intent := range intents {
		size := len(payloadOf(intent).Data)
		total, largest = total+size, max(largest, size)
	}
	if largest <= events.InlinePayloadBytes && total <= progressInlineBytes {
		return nil
	}
	type inline struct{ index, size int }
	rest := make([]inline, len(intents))
	for i, intent := range intents {
		rest[i] = inline{i, len(payloadOf(intent).Data)}
	}
	slices.SortStableFunc(rest, func(a, b inline) int { return cmp.Compare(b.size, a.size) })
	for _, p := range rest {
		if p.size <= events.InlinePayloadBytes && (total <= progressInlineBytes || p.size < smallestSpill) {
			break
		}
		stored, err := g.putBlob(ctx, ns, run, payloadOf(intents[p.index]))
		if err != nil {
			return err
		}
		intents[p.index] = withPayload(intents[p.index], stored)
		total -= p.size
	}
	return nil
}

// payloadOf returns the payload of an intent; zero when it has none.
func payloadOf(i events.Intent) events.Payload {
	switch i := i.(type) {
	case events.ScheduleTask:
		return i.Input
	case events.RecordStep:
		return i.Result
	case events.SetView:
		return i.Value
	case events.CompleteRun:
		return i.Result
	case events.ContinueRun:
		return i.Input
	default:
		return events.Payload{}
	}
}

func withPayload(i events.Intent, p events.Payload) events.Intent {
	switch i := i.(type) {
	case events.ScheduleTask:
		i.Input = p
		return i
	case events.RecordStep:
		i.Result = p
		return i
	case events.SetView:
		i.Value = p
		return i
	case events.CompleteRun:
		i.Result = p
		return i
	case events.ContinueRun:
		i.Input = p
		return i
	default:
		return i
	}
}

// fetch returns a payload with its bytes, from the blob store if they are there.
func (g *Gateway) fetch(ctx context.Context, p events.Payload) (events.Payload, error) {
	if p.Blob == "" {
		return p, nil
	}
	data, err := g.deps.Blobs.Get(ctx, p.Blob)
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		return p, &events.Error{Code: events.NotFound, Message: fmt.Sprintf("the payload %s is gone: its run's retention is over", p.Blob)}
	case err != nil:
		return p, fmt.Errorf("fetch a payload: %w", err)
	}
	return events.Payload{Encoding: p.Encoding, Data: data}, nil
}

// wanted says which payloads of a history are fetched.
type wanted bool

const (
	// replayOnly are those that replayed code is given: what it has sent itself it makes again.
	replayOnly wanted = false
	everything wanted = true
)

// resolveEvent returns an event with the bytes of its payload, e itself when there is nothing to fetch.
func (g *Gateway) resolveEvent(ctx context.Context, e events.Event, want wanted) (events.Event, error) {
	p := eventPayload(e, want)
	if p.Blob == "" {
		return e, nil
	}
	p, err := g.fetch(ctx, p)
	if err != nil {
		return nil, err
	}
	return withEventPayload(e, p), nil
}

// resolve returns a record with the bytes of its payloads; records are shared, so one that needs bytes is copied.
func (g *Gateway) resolve(ctx context.Context, r *events.Record, want wanted) (*events.Record, error) {
	var copied *events.Record
	for i, e := range r.Events {
		full, err := g.resolveEvent(ctx, e, want)
		if err != nil {
			return nil, err
		}
		if eventPayload(e, want).Blob == "" {
			continue
		}
		if copied == nil {
			clone := *r
			clone.Events = slices.Clone(r.Events)
			copied = &clone
		}
		copied.Events[i] = full
	}
	if copied != nil {
		return copied, nil
	}
	return r, nil
}

// eventPayload returns the payload of an event, if it is wanted.
func eventPayload(e events.Event, want wanted) events.Payload {
	if want == replayOnly && wasSent(e) {
		return events.Payload{}
	}
	return events.PayloadOf(e)
}

// wasSent reports whether the payload of an event is one that the run's own code or worker has sent, or that ended the run.
func wasSent(e events.Event) bool {
	switch e.(type) {
	case events.TaskScheduled, events.TaskAttemptFailed, events.HeartbeatRecorded, events.ViewSet, events.RunCompleted:
		return true
	default:
		return false
	}
}

func withEventPayload(e events.Event, p events.Payload) events.Event {
	switch e := e.(type) {
	case events.RunStarted:
		e.Input = p
		return e
	case events.TaskCompleted:
		e.Result = p
		return e
	case events.StepRecorded:
		e.Result = p
		return e
	case events.SignalReceived:
		e.Input = p
		return e
	case events.RunContinued:
		e.Input = p
		return e
	case events.TaskScheduled:
		e.Input = p
		return e
	case events.TaskAttemptFailed:
		e.Details = p
		return e
	case events.HeartbeatRecorded:
		e.Details = p
		return e
	case events.ViewSet:
		e.Value = p
		return e
	case events.RunCompleted:
		e.Result = p
		return e
	default:
		return e
	}
}
