package brokerinbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

const (
	// readLimit is how many messages are taken at once.
	readLimit = 256
	// What is read between two moves of the hold. What came before the last but one is forgotten, so whoever is this far
	// behind reads on at the end.
	keepMessages = 1_000
	keepBytes    = 8 << 20
	// The wait after a failure, which doubles up to the longest.
	pauseFirst = 10 * time.Millisecond
	pauseMost  = time.Second
	// hold is the name under which the broker is asked to keep messages: none but the newest are wanted.
	hold = "inbox"
)

// part reads and appends to one partition.
type part struct {
	inbox     *Inbox
	partition events.Partition
	ready     chan struct{} // has a value when something is to be appended
	failure   chan struct{} // has a value when an append has failed
	keeping   atomic.Bool
	at        fold.Position // read so far; guarded by inbox.mu

	mu     sync.Mutex
	failed error
	try    uint64 // that it belonged to
}

func newPart(i *Inbox, p events.Partition) *part {
	return &part{inbox: i, partition: p, ready: make(chan struct{}, 1), failure: make(chan struct{}, 1)}
}

// warn tells of trouble that is overcome, and what is done about it.
func (p *part) warn(done string, err error) {
	p.inbox.options.Logger.Warn("trouble with the inbox", slog.Int("partition", int(p.partition)), slog.String("done", done), slog.String("error", err.Error()))
}

// rest waits, and returns how long to wait the next time.
func (p *part) rest(pause time.Duration) time.Duration {
	timer := p.inbox.options.Clock.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-p.inbox.ctx.Done():
	}
	return min(2*pause, pauseMost)
}

// open begins to read at the end: only what comes is of interest.
func (p *part) open(ctx context.Context) (brokerlog.Reader, error) {
	log := p.inbox.options.Log
	end, err := log.End(ctx, brokerlog.Inbox, p.partition)
	if err != nil {
		return nil, err
	}
	p.inbox.mu.Lock()
	p.at = end
	p.inbox.mu.Unlock()
	return log.Read(ctx, brokerlog.Inbox, p.partition, end)
}

// read reads until the inbox closes. When that fails it goes on at the end.
func (p *part) read(r brokerlog.Reader) {
	i := p.inbox
	for i.ctx.Err() == nil {
		err := p.readFrom(r)
		r.Close()
		for pause := pauseFirst; err != nil && i.ctx.Err() == nil; {
			p.warn("it is read on at its end, and sessions are asked for their state", err)
			pause = p.rest(pause)
			if r, err = p.open(i.ctx); err == nil {
				i.mu.Lock()
				i.core.Lost(p.partition)
				i.wake()
				i.mu.Unlock()
			}
		}
	}
}

// readFrom reads until that fails.
func (p *part) readFrom(r brokerlog.Reader) error {
	i := p.inbox
	count, bytes := 0, 0
	var before fold.Position
	for {
		messages, err := r.Next(i.ctx, readLimit)
		if err != nil {
			return err
		}
		i.mu.Lock()
		missed := i.core.Stats().Missed
		for n := range messages {
			i.core.Read(p.partition, messages[n].Body)
			bytes += len(messages[n].Body)
		}
		p.at = messages[len(messages)-1].At
		missed = i.core.Stats().Missed - missed
		i.wake()
		if i.waits {
			close(i.read)
			i.read, i.waits = make(chan struct{}), false
		}
		i.mu.Unlock()
		if missed > 0 {
			p.warn("sessions say their state anew", errMissed)
		}
		if count += len(messages); count >= keepMessages || bytes >= keepBytes {
			p.keep(before)
			count, bytes, before = 0, 0, p.at
		}
	}
}

var errMissed = errors.New("messages of another process were missed")

// keep lets the broker forget what lies before a position.
func (p *part) keep(behind fold.Position) {
	if behind == (fold.Position{}) || !p.keeping.CompareAndSwap(false, true) {
		return
	}
	p.inbox.all.Go(func() {
		defer p.keeping.Store(false)
		err := p.inbox.options.Log.Keep(p.inbox.ctx, brokerlog.Inbox, p.partition, hold, behind)
		if err != nil && p.inbox.ctx.Err() == nil && !errors.Is(err, brokerlog.ErrTrimmed) {
			p.warn("old messages stay in the log", err)
		}
	})
}

// send appends until the inbox closes.
func (p *part) send() {
	i := p.inbox
	for pause := pauseFirst; i.ctx.Err() == nil; {
		to, err := i.options.Log.Appender(i.ctx, brokerlog.Inbox, p.partition)
		if err == nil {
			pause = pauseFirst
			err = p.sendTo(to)
			to.Close()
		}
		if i.ctx.Err() != nil {
			return
		}
		p.warn("it is opened again for appending", err)
		pause = p.rest(pause)
		i.mu.Lock()
		i.core.Failed(p.partition, i.core.Try(p.partition))
		i.mu.Unlock()
	}
}

// sendTo appends until the inbox closes, or a message has not come back for too long.
func (p *part) sendTo(to brokerlog.Appender) error {
	i := p.inbox
	timer := i.options.Clock.NewTimer(i.options.ReturnTimeout)
	defer timer.Stop()
	armed, oldest := true, uint64(0)
	failed, pause := uint64(0), pauseFirst
	for {
		for body, try := p.next(); body != nil; body, try = p.next() {
			to.Append(i.ctx, body, func(err error) { p.told(try, err) })
		}
		if n, waits := p.waits(); waits && !armed {
			timer.Reset(i.options.ReturnTimeout)
			armed, oldest = true, n
		}
		select {
		case <-p.ready:
		case <-p.failure:
			if n, _ := p.waits(); n != failed {
				failed, pause = n, pauseFirst
			}
			pause = p.again(pause)
		case <-timer.C():
			n, waits := p.waits()
			if waits && n == oldest {
				return fmt.Errorf("a message has not come back for %v: the broker is slow or away", i.options.ReturnTimeout)
			}
			if armed, oldest = waits, n; armed {
				timer.Reset(i.options.ReturnTimeout)
			}
		case <-i.ctx.Done():
			return i.ctx.Err()
		}
	}
}

func (p *part) next() (body []byte, try uint64) {
	p.inbox.mu.Lock()
	defer p.inbox.mu.Unlock()
	return p.inbox.core.Next(p.partition)
}

func (p *part) waits() (n uint64, waits bool) {
	p.inbox.mu.Lock()
	defer p.inbox.mu.Unlock()
	return p.inbox.core.Waits(p.partition)
}

// told hears what became of a message.
func (p *part) told(try uint64, err error) {
	if err == nil {
		return // it counts when it comes back
	}
	p.mu.Lock()
	p.failed, p.try = err, max(p.try, try)
	p.mu.Unlock()
	signal(p.failure)
}

// again lets what has not arrived be sent again, after a while.
func (p *part) again(pause time.Duration) time.Duration {
	p.mu.Lock()
	err, try := p.failed, p.try
	p.mu.Unlock()
	i := p.inbox
	i.mu.Lock()
	old := try != i.core.Try(p.partition)
	i.mu.Unlock()
	if old {
		return pause // it was sent again since
	}
	p.warn("a message is sent again", err)
	pause = p.rest(pause)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.core.Failed(p.partition, try)
	return pause
}
