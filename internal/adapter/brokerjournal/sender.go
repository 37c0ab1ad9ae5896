package brokerjournal

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// sender appends the commands of this process to the commands log of one partition.
type sender struct {
	journal   *Journal
	partition events.Partition
	ready     chan struct{}

	mu      sync.Mutex
	closed  bool
	clients int        // client commands among all that are not done
	waiting []*sending // not handed over yet
	flight  []*sending // in their order, the oldest not resolved

	calling sync.Mutex // held while done functions are called
}

// sending is a command on its way.
type sending struct {
	body     []byte
	client   bool
	done     func(error)
	since    time.Duration // when it was handed over
	resolved bool
	err      error
}

func newSender(j *Journal, p events.Partition) *sender {
	return &sender{journal: j, partition: p, ready: make(chan struct{}, 1)}
}

func (s *sender) send(command events.Envelope, done func(error)) error {
	one := &sending{client: events.FromClient(command.Command), done: done}
	one.body = fold.AppendCommand(nil, &fold.Command{Partition: s.partition, Body: events.AppendEnvelope(nil, &command)})
	if len(one.body) > fold.MaxCommandBytes {
		return fmt.Errorf("a command of %d bytes, and the limit is %d: large payloads belong into blobs", len(one.body), fold.MaxCommandBytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return journal.ErrClosed
	case one.client && s.clients >= s.journal.options.ClientLimit:
		return fmt.Errorf("%w: %d are on their way into the log, which is the limit; try again later", journal.ErrFull, s.clients)
	case one.client:
		s.clients++
	}
	s.waiting = append(s.waiting, one)
	signal(s.ready)
	return nil
}

// run appends what waits until the journal closes.
func (s *sender) run() {
	defer s.close()
	for pause := retryFirst; s.journal.ctx.Err() == nil; {
		to, err := s.journal.options.Log.Appender(s.journal.ctx, brokerlog.Commands, s.partition)
		if err == nil {
			pause = retryFirst
			err = s.appendTo(to)
			to.Close()
		}
		if s.journal.ctx.Err() != nil {
			return
		}
		s.journal.options.Logger.Warn("the commands log of a partition is opened again",
			slog.Int("partition", int(s.partition)), slog.String("error", err.Error()))
		select {
		case <-s.journal.ctx.Done():
		case <-s.journal.options.Clock.After(pause):
		}
		pause = min(2*pause, retryMost)
	}
}

// appendTo appends until the journal closes, or an append has had no outcome for too long.
func (s *sender) appendTo(to brokerlog.Appender) error {
	timeout, now := s.journal.options.SendTimeout, s.journal.options.Clock.Boot
	timer := s.journal.options.Clock.NewTimer(timeout)
	defer timer.Stop()
	for {
		for one := s.next(now()); one != nil; one = s.next(now()) {
			to.Append(s.journal.ctx, one.body, func(err error) { s.resolve(one, err) })
		}
		select {
		case <-s.ready:
		case <-timer.C():
			since, waits := s.oldest()
			if waits && now()-since >= timeout {
				return fmt.Errorf("a command has had no outcome for %v: the broker is slow or away", timeout)
			}
			if !waits {
				since = now()
			}
			timer.Reset(since + timeout - now())
		case <-s.journal.ctx.Done():
			return s.journal.ctx.Err()
		}
	}
}

// oldest returns since when the oldest command is in flight.
func (s *sender) oldest() (since time.Duration, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return 0, false
	}
	return s.flight[0].since, true
}

// next moves the oldest waiting command to those in flight.
func (s *sender) next(now time.Duration) *sending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	one := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	one.since = now
	s.flight = append(s.flight, one)
	return one
}

// resolve notes what became of a command and tells all whose turn it is.
func (s *sender) resolve(one *sending, err error) {
	s.calling.Lock()
	defer s.calling.Unlock()
	s.mu.Lock()
	if !one.resolved {
		one.resolved = true
		one.body = nil
		if err != nil {
			one.err = fmt.Errorf("%w: the command may be in the log of partition %d or not: %w", journal.ErrLost, s.partition, err)
		}
	}
	n := 0
	for n < len(s.flight) && s.flight[n].resolved {
		n++
	}
	told := s.take(n)
	s.mu.Unlock()
	tell(told)
}

// take removes the n oldest commands in flight. The lock is held.
func (s *sender) take(n int) []*sending {
	told := s.flight[:n:n]
	s.flight = s.flight[n:]
	for _, one := range told {
		if one.client {
			s.clients--
		}
	}
	return told
}

func tell(told []*sending) {
	for _, one := range told {
		if one.done != nil {
			one.done(one.err)
		}
	}
}

// close tells all commands that nobody knows what becomes of them.
func (s *sender) close() {
	s.calling.Lock()
	defer s.calling.Unlock()
	s.mu.Lock()
	s.closed = true
	s.flight, s.waiting = append(s.flight, s.waiting...), nil
	for _, one := range s.flight {
		if !one.resolved {
			one.resolved, one.err = true, fmt.Errorf("%w: the journal was closed", journal.ErrLost)
		}
	}
	told := s.take(len(s.flight))
	s.mu.Unlock()
	tell(told)
}
