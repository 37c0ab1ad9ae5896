package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// Most records and deliveries that one turn takes.
const (
	turnRecords    = 1024
	turnDeliveries = 1024
)

// inputs is the queue in front of the loop. What is in it is bounded by those who put it there: open calls, and the
// credits of workers.
type inputs struct {
	mu    sync.Mutex
	queue []sessions.Input
	spare []sessions.Input
	wake  chan struct{}
}

// post hands inputs to the loop. It does not block.
func (g *Gateway) post(in ...sessions.Input) {
	g.in.mu.Lock()
	g.in.queue = append(g.in.queue, in...)
	g.in.mu.Unlock()
	select {
	case g.in.wake <- struct{}{}:
	default:
	}
}

// take returns what waits; the slice is valid until the next take.
func (i *inputs) take() []sessions.Input {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.queue
	i.queue, i.spare = i.spare[:0], taken
	return taken
}

// tailState is what others than the loop need to know of the tail.
type tailState struct {
	mu    sync.Mutex
	begin []events.Seq // first position read, per partition
	reads atomic.Bool  // the tail is open and read
}

// covers reports whether the tail of a partition covers the given position.
func (t *tailState) covers(p events.Partition, at events.Seq) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(p) < len(t.begin) && t.begin[p] != 0 && at >= t.begin[p]
}

// openTail begins to read every partition behind its last record.
func (g *Gateway) openTail(ctx context.Context) (journal.Reader, error) {
	from := make([]journal.Position, g.deps.Partitions)
	for p := range from {
		_, last := g.deps.Follower.Bounds(events.Partition(p))
		from[p] = journal.Position{Partition: events.Partition(p), Next: last + 1}
	}
	reader, err := g.deps.Follower.Follow(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	g.recent.reset()
	g.tail.mu.Lock()
	defer g.tail.mu.Unlock()
	for _, at := range from {
		g.tail.begin[at.Partition] = at.Next
		g.post(sessions.TailFrom{Partition: at.Partition, Next: at.Next})
	}
	g.tail.reads.Store(true)
	return reader, nil
}

// loop turns the core until ctx ends or the log cannot be followed any more.
func (g *Gateway) loop(ctx context.Context, tail *journal.Reader, mailbox inbox.Mailbox) error {
	defer g.tail.reads.Store(false)
	timer := g.deps.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []sessions.Input
	for {
		runtime.Gosched() // whoever can run now may have an input, too
		batch = append(batch[:0], g.in.take()...)
		for _, d := range mailbox.Take(turnDeliveries) {
			batch = append(batch, sessions.Delivery(delivery(d)))
		}
		records, err := (*tail).TryNext(turnRecords)
		switch {
		case errors.Is(err, journal.ErrTrimmed):
			g.metrics.tailGaps.Inc()
			g.deps.Log.Warn("the gateway fell behind the log and begins again at its end")
			(*tail).Close()
			if *tail, err = g.openTail(ctx); err != nil {
				return err
			}
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("read the log: %w", err)
		}
		for _, r := range records {
			g.types.note(r)
			g.recent.note(r)
			g.watches.note(r)
			batch = append(batch, sessions.Recorded{Record: r})
		}
		for _, out := range g.core.Turn(g.now(), batch) {
			g.dispatch(out)
		}
		g.conns.flush()
		clear(batch)
		g.metrics.observe(g.core.Stats())
		if len(records) == turnRecords {
			continue
		}
		g.arm(timer)
		select {
		case <-g.in.wake:
		case <-(*tail).Ready():
		case <-mailbox.Ready():
		case <-timer.C():
		case <-ctx.Done():
			return nil
		}
	}
}

// now is the time that deadlines are kept in: it begins as the wall clock's and then goes on steadily, so that setting the
// clock gives up no attempt and freezes no deadline.
func (g *Gateway) now() events.Time {
	return events.TimeOf(g.began.wall.Add(g.deps.Clock.Boot() - g.began.boot))
}

func (g *Gateway) arm(timer clock.Timer) {
	wake := g.core.Wake()
	if wake == 0 {
		timer.Reset(time.Hour)
		return
	}
	timer.Reset(max(wake.Sub(g.now()), time.Millisecond))
}

// delivery has the fields of sessions.Delivery.
type delivery inbox.Delivery

// dispatch does what the core says. Nothing here blocks.
func (g *Gateway) dispatch(out sessions.Output) {
	switch out := out.(type) {
	case sessions.Send:
		g.send(out)
	case sessions.Reply:
		g.calls.deliver(out.Call, out)
	case sessions.Waiting:
		g.calls.deliver(out.Call, out)
	case sessions.RunOver:
		g.calls.deliver(out.Call, out)
	case sessions.Inspection:
		g.calls.deliver(out.Call, out)
	case sessions.Welcome:
		g.conns.push(out.Conn, out)
	case sessions.Refuse:
		g.conns.push(out.Conn, out)
	case sessions.Hand:
		g.conns.push(out.Conn, out)
	case sessions.StopTask:
		g.conns.push(out.Conn, out)
	case sessions.AckTask:
		g.conns.push(out.Conn, out)
	case sessions.AckActivation:
		g.conns.push(out.Conn, out)
	case sessions.DropRun:
		g.conns.push(out.Conn, out)
	case sessions.Report:
		g.sendReport(out)
	}
}

// send gives a command to the journal; what became of it is an input of a later turn.
func (g *Gateway) send(out sessions.Send) {
	partition, n := out.Partition, out.Envelope.N
	g.metrics.sent(out.Envelope.Command)
	err := g.deps.Sender.Send(out.Envelope, func(err error) {
		fate := sessions.SendResult{Partition: partition, N: n, Fate: sessions.Kept}
		switch {
		case err != nil:
			fate.Fate = sessions.Lost
			g.metrics.lost.Inc()
		case out.Call != 0:
			g.calls.keep(out.Call)
		}
		g.post(fate)
	})
	if err == nil {
		return
	}
	refused := &events.Error{Code: events.Internal, Message: err.Error()}
	switch {
	case errors.Is(err, journal.ErrFull):
		refused = &events.Error{Code: events.Overloaded, Message: err.Error() + "; nothing was kept", RetryAfterMs: 250}
	case errors.Is(err, journal.ErrDiskFull):
		refused = &events.Error{Code: events.DiskFull, Message: err.Error() + "; nothing was kept", RetryAfterMs: 5000}
	case errors.Is(err, journal.ErrClosed):
		refused = &events.Error{Code: events.Unavailable, Message: "the server is stopping", RetryAfterMs: 1000}
	default:
		g.deps.Log.Error("the journal refused a command", slog.String("error", err.Error()))
	}
	g.post(sessions.SendResult{Partition: partition, N: n, Fate: sessions.Refused, Err: refused})
}
