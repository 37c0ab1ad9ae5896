package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/inbox/book"
	"github.com/continuo-dev/continuo/pkg/events"
)

// reportLimit is how many reports wait for one follower of an [Inbox] before they are replaced by the present state.
const reportLimit = 10_000

// Inbox is the inbox within one process. Its methods may be called from any goroutine; it has none of its own.
type Inbox struct {
	mu        sync.Mutex
	sessions  map[events.SessionID]*session
	order     []events.SessionID // in the order they were opened
	followers []*follower
}

var _ inbox.Inbox = (*Inbox)(nil)

// NewInbox makes an inbox without sessions.
func NewInbox() *Inbox { return &Inbox{sessions: map[events.SessionID]*session{}} }

// session is a gateway's session: its mailbox and what is known of its workers.
type session struct {
	inbox   *Inbox
	id      events.SessionID
	waiting []inbox.Delivery
	ready   chan struct{}
	known   *book.Session
}

// Open begins a session. It fails if the session is open.
func (i *Inbox) Open(_ context.Context, id events.SessionID) (inbox.Mailbox, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sessions[id] != nil {
		return nil, fmt.Errorf("gateway session %d is open already", id)
	}
	s := &session{inbox: i, id: id, ready: make(chan struct{}, 1), known: book.NewSession(id)}
	i.sessions[id] = s
	i.order = append(i.order, id)
	return s, nil
}

// Deliver puts all deliveries into the session's mailbox or, when that fails, none.
func (i *Inbox) Deliver(id events.SessionID, deliveries []inbox.Delivery) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[id]
	if s == nil {
		return fmt.Errorf("session %d: %w", id, inbox.ErrGone)
	}
	if limit := s.known.Limit(); len(s.waiting)+len(deliveries) > limit {
		return fmt.Errorf("session %d: %d deliveries wait and the limit is %d: %w", id, len(s.waiting), limit, inbox.ErrFull)
	}
	s.waiting = append(s.waiting, deliveries...)
	for n := range deliveries {
		s.known.Assign(&deliveries[n])
	}
	wake(s.ready)
	return nil
}

// Report tells the followers. A report of a session that is not open fails with ErrGone, unless it says Gone.
func (i *Inbox) Report(r inbox.Report) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[r.Session]
	switch {
	case s == nil && r.Gone:
		return nil
	case s == nil:
		return fmt.Errorf("session %d: %w", r.Session, inbox.ErrGone)
	case r.Gone:
		i.forget(s)
		return nil
	}
	i.moved(s, r.Joined)
	s.known.Fold(&r)
	i.tell(r)
	return nil
}

// moved forgets in other sessions the workers that joined this one: a worker is where it joined last.
func (i *Inbox) moved(to *session, joined []inbox.Worker) {
	for _, id := range i.order {
		if other := i.sessions[id]; other != to {
			other.known.Moved(joined)
		}
	}
}

// forget ends a session and tells the followers.
func (i *Inbox) forget(s *session) {
	if i.sessions[s.id] != s {
		return
	}
	delete(i.sessions, s.id)
	i.order = slices.DeleteFunc(i.order, func(id events.SessionID) bool { return id == s.id })
	s.waiting = nil
	i.tell(inbox.Report{Session: s.id, Gone: true})
}

// Take returns waiting deliveries.
func (s *session) Take(limit int) []inbox.Delivery {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	return take(&s.waiting, limit, s.ready)
}

// Ready has a value whenever Take may return something.
func (s *session) Ready() <-chan struct{} { return s.ready }

// Close ends the session.
func (s *session) Close() {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	s.inbox.forget(s)
}

type follower struct {
	inbox   *Inbox
	waiting []inbox.Report
	ready   chan struct{}
}

// Reports begins with one report for every session that has workers.
func (i *Inbox) Reports(context.Context) (inbox.Reports, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &follower{inbox: i, ready: make(chan struct{}, 1)}
	f.waiting = i.state(nil)
	wake(f.ready)
	i.followers = append(i.followers, f)
	return f, nil
}

func (i *Inbox) state(dst []inbox.Report) []inbox.Report {
	for _, id := range i.order {
		if s := i.sessions[id]; !s.known.Empty() {
			dst = append(dst, s.known.State())
		}
	}
	return dst
}

// tell hands a report to the followers. One that takes nothing gets, instead of ever more changes, the end of every
// session it was told of and then the present state.
func (i *Inbox) tell(r inbox.Report) {
	for _, f := range i.followers {
		if len(f.waiting) < reportLimit {
			f.waiting = append(f.waiting, r)
		} else {
			gone := slices.Clone(i.order)
			for _, waiting := range f.waiting {
				gone = append(gone, waiting.Session)
			}
			gone = append(gone, r.Session)
			slices.Sort(gone)
			f.waiting = nil
			for _, id := range slices.Compact(gone) {
				f.waiting = append(f.waiting, inbox.Report{Session: id, Gone: true})
			}
			f.waiting = i.state(f.waiting)
		}
		wake(f.ready)
	}
}

// Take returns waiting reports.
func (f *follower) Take(limit int) []inbox.Report {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	return take(&f.waiting, limit, f.ready)
}

// Ready has a value whenever Take may return something.
func (f *follower) Ready() <-chan struct{} { return f.ready }

// Close ends the following.
func (f *follower) Close() {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	f.waiting = nil
	f.inbox.followers = slices.DeleteFunc(f.inbox.followers, func(o *follower) bool { return o == f })
}

// take removes up to limit values from the front of a queue and makes it ready again if something is left.
func take[T any](queue *[]T, limit int, ready chan struct{}) []T {
	n := min(limit, len(*queue))
	if n <= 0 {
		return nil
	}
	taken := slices.Clone((*queue)[:n])
	*queue = slices.Delete(*queue, 0, n)
	if len(*queue) > 0 {
		wake(ready)
	}
	return taken
}

func wake(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}
