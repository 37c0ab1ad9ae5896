package gateway

import (
	"context"
	"fmt"

	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// inlineReplayBytes is how much of a full replay travels with an activation; the rest is asked for.
const inlineReplayBytes = 32 << 10

// replayFrames reads the history that a replay of an activation needs, from event from on, as one encoded frame of about
// limit bytes, and returns the number to go on with, 0 at the end. from 0 means the beginning: RunStarted, or a
// RunContinued preceded by the signals that had not been read when the run continued.
func (g *Gateway) replayFrames(ctx context.Context, given given, from, to events.EventNumber, limit int) (frame []byte, next events.EventNumber, err error) {
	open := given.open
	begin := open.Activation.ReplayFrom
	if to == 0 || to > open.Activation.Upto {
		to = open.Activation.Upto
	}
	b := frameBuilder{limit: limit}
	if from <= begin {
		unread, err := g.unreadSignals(ctx, given, from)
		if err != nil {
			return nil, 0, err
		}
		for i, r := range unread {
			full, err := g.resolve(ctx, r, replayOnly)
			if err != nil {
				return nil, 0, err
			}
			b.add(full)
			// The first record of the main part always comes with the last of these: an asker that goes on with its number
			// would begin again here.
			if b.full() && i < len(unread)-1 {
				return b.frame(), unread[i+1].First, nil
			}
		}
		from, b.bytes = begin, 0
	}
	for from != 0 && from <= to {
		records, after, err := g.replayed(ctx, given, from, to, limit)
		if err != nil {
			return nil, 0, fmt.Errorf("read the replay of run %s: %w", open.RunID, err)
		}
		for _, r := range records {
			if r.First == 1 { // the run's tasks will be given out with it
				g.types.note(r)
			}
			full, err := g.resolve(ctx, r, replayOnly)
			if err != nil {
				return nil, 0, err
			}
			for _, part := range split(full, from, to) {
				if b.add(part); b.full() && part.Last() < to {
					return b.frame(), part.Last() + 1, nil
				}
			}
		}
		from = after
	}
	return b.frame(), 0, nil
}

// unreadSignals returns what a replay that begins at a RunContinued takes from before it, from the given event on.
func (g *Gateway) unreadSignals(ctx context.Context, given given, from events.EventNumber) ([]*events.Record, error) {
	run, begin := given.open.RunID, given.open.Activation.ReplayFrom
	if begin <= 1 {
		return nil, nil
	}
	e, _, err := g.eventAt(ctx, given.partition, run, begin)
	if err != nil {
		return nil, err
	}
	continued, ok := e.(events.RunContinued)
	if !ok || continued.OldestUnread == 0 {
		return nil, nil
	}
	var unread []*events.Record
	first := continued.OldestUnread
	if from > first && from < begin {
		first = from
	}
	for next := first; next != 0 && next < begin; {
		records, after, err := g.deps.Archive.History(ctx, given.partition, run, next, begin-1, readBytes)
		if err != nil {
			return nil, fmt.Errorf("read the unread signals of run %s: %w", run, err)
		}
		for _, r := range events.UnreadSignals(continued, records) {
			if r.First >= first && r.First < begin {
				unread = append(unread, r)
			}
		}
		next = after
	}
	return unread, nil
}

// frameBuilder collects records up to about limit encoded bytes.
type frameBuilder struct {
	limit   int
	records []*events.Record
	bytes   int
}

// add takes a record. Within a delivered history the sequence number of a record is the number of its first event: parts
// of one record have to differ.
func (b *frameBuilder) add(r *events.Record) {
	part := *r
	part.Seq, part.Answers = events.Seq(r.First), nil
	b.records = append(b.records, &part)
	b.bytes += recordBytes(&part)
}

func (b *frameBuilder) full() bool { return b.bytes >= b.limit }

func (b *frameBuilder) frame() []byte {
	if len(b.records) == 0 {
		return nil
	}
	return events.AppendFrame(make([]byte, 0, b.bytes), b.records...)
}

// split returns the part of a record with the events from first to last, in pieces when it is too large for one chunk.
func split(r *events.Record, first, last events.EventNumber) []*events.Record {
	whole := clip(r, first, last)
	if len(whole.Events) < 2 || recordBytes(whole) <= wire.MaxChunkBytes {
		if len(whole.Events) == 0 {
			return nil
		}
		return []*events.Record{whole}
	}
	parts := make([]*events.Record, len(whole.Events))
	for i := range whole.Events {
		at := whole.First + events.EventNumber(i)
		parts[i] = clip(whole, at, at)
	}
	return parts
}

func clip(r *events.Record, first, last events.EventNumber) *events.Record {
	if first <= r.First && last >= r.Last() {
		return r
	}
	first, last = max(first, r.First), min(last, r.Last())
	part := *r
	part.First = first
	part.Events = nil
	if first <= last {
		part.Events = r.Events[first-r.First : last-r.First+1]
	}
	return &part
}

// recordBytes estimates the encoded size of a record from the bytes of its payloads.
func recordBytes(r *events.Record) int {
	n := 128
	for _, e := range r.Events {
		n += 64 + len(eventPayload(e, everything).Data)
		switch e := e.(type) {
		case events.TaskFailed:
			n += len(e.Failure.Message) + len(e.Failure.Details.Data)
		case events.StepRecorded:
			if e.Failure != nil {
				n += len(e.Failure.Message) + len(e.Failure.Details.Data)
			}
		case events.ProgressMade:
			n += 24*len(e.Reads) + 16*len(e.Wait.Any)
		default:
		}
	}
	return n
}
