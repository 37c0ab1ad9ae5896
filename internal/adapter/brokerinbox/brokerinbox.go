// Package brokerinbox is the inbox between schedulers and gateways in different processes: the shell around package post, over
// one topic of a plain log. Every process that opens sessions, delivers, or follows reports has one [Inbox].
//
// Each partition has a goroutine that reads and one that appends; what waits while a few messages are on their way goes with
// the next one. Nothing waits for a timer unless an append has failed.
package brokerinbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/brokerinbox/post"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Defaults of [Options].
const (
	DefaultGatewayRole   = "gateway"
	DefaultReturnTimeout = 5 * time.Second
	DefaultStateTimeout  = 3 * time.Second
)

// closeTimeout bounds the wait for the last messages.
const closeTimeout = time.Second

// Members tells who is there. A membership is one.
type Members interface {
	// Self returns the number of this process.
	Self() presence.Process
	// Everybody returns who is there in any role, and how many own announcements came back.
	Everybody() (heard uint64, all []presence.Member)
	// Changed returns a channel that is closed when somebody has spoken next.
	Changed() <-chan struct{}
}

// Options of an inbox. Log, Clock, Logger and Members are needed.
type Options struct {
	Log     brokerlog.Log
	Clock   clock.Clock
	Logger  *slog.Logger
	Members Members
	// Delivers is set in the processes of schedulers. Their followings begin when everything is void that was delivered before
	// and did not arrive; in other processes Deliver fails.
	Delivers bool
	// GatewayRole is the role of the processes that open sessions; "" means [DefaultGatewayRole]. A following of a process that
	// delivers begins when each of them has told of its session.
	GatewayRole string
	// ReturnTimeout is after what time a message that has not come back from the log is appended again by a new appender; 0
	// means [DefaultReturnTimeout].
	ReturnTimeout time.Duration
	// StateTimeout bounds the wait for the present state when a following begins; 0 means [DefaultStateTimeout]. What is told
	// later comes as changes.
	StateTimeout time.Duration
}

// Inbox is the end of one process. Its methods may be called from any goroutine.
type Inbox struct {
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	all     sync.WaitGroup
	parts   []*part

	mu        sync.Mutex
	core      *post.Core
	mailboxes map[events.SessionID]*mailbox
	follows   []*following
	closed    bool
	read      chan struct{} // closed and replaced when something was read and somebody waits for that
	waits     bool
}

var _ inbox.Inbox = (*Inbox)(nil)

// New begins to read the inbox topic at its end, and asks the sessions that are there for their state.
func New(ctx context.Context, o Options) (*Inbox, error) {
	if o.Log == nil || o.Clock == nil || o.Logger == nil || o.Members == nil {
		return nil, errors.New("brokerinbox: Log, Clock, Logger and Members are needed")
	}
	if o.GatewayRole == "" {
		o.GatewayRole = DefaultGatewayRole
	}
	if o.ReturnTimeout <= 0 {
		o.ReturnTimeout = DefaultReturnTimeout
	}
	if o.StateTimeout <= 0 {
		o.StateTimeout = DefaultStateTimeout
	}
	i := &Inbox{options: o, mailboxes: map[events.SessionID]*mailbox{}, read: make(chan struct{})}
	i.core = post.New(post.Config{
		Life: newLife(), Process: uint64(o.Members.Self()), Partitions: o.Log.Partitions(), Delivers: o.Delivers, Silence: presence.Silence,
	})
	i.ctx, i.cancel = context.WithCancel(context.WithoutCancel(ctx))
	readers, err := i.openAll(ctx)
	if err != nil {
		i.cancel()
		return nil, err
	}
	i.core.Begin()
	i.all.Go(i.watch)
	for n, p := range i.parts {
		signal(p.ready)
		i.all.Go(func() { p.read(readers[n]) })
		i.all.Go(p.send)
	}
	return i, nil
}

func newLife() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return binary.BigEndian.Uint64(b[:])
}

// openAll opens the readers of all partitions at once.
func (i *Inbox) openAll(ctx context.Context) ([]brokerlog.Reader, error) {
	n := i.options.Log.Partitions()
	readers, errs := make([]brokerlog.Reader, n), make([]error, n)
	var opening sync.WaitGroup
	for p := range n {
		i.parts = append(i.parts, newPart(i, events.Partition(p)))
	}
	for n, p := range i.parts {
		opening.Go(func() { readers[n], errs[n] = p.open(ctx) })
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, r := range readers {
			if r != nil {
				r.Close()
			}
		}
		return nil, fmt.Errorf("opening the inbox: %w", err)
	}
	return readers, nil
}

// Close ends the sessions, and everything else when that has been told or could not be for a second.
func (i *Inbox) Close() {
	i.mu.Lock()
	i.closed = true
	for id := range i.mailboxes {
		i.core.Close(id)
	}
	clear(i.mailboxes)
	i.wake()
	i.mu.Unlock()
	timeout := i.options.Clock.NewTimer(closeTimeout)
	defer timeout.Stop()
	for idle := false; !idle; {
		var read <-chan struct{}
		if idle, read = i.idle(); idle {
			break
		}
		select {
		case <-read:
		case <-timeout.C():
			idle = true
		}
	}
	i.cancel()
	i.all.Wait()
}

func (i *Inbox) idle() (idle bool, read <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waits = true
	return i.core.Idle(), i.read
}

// Stats returns the counters.
func (i *Inbox) Stats() post.Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.core.Stats()
}

// wake tells whoever has something to do. i.mu is held.
func (i *Inbox) wake() {
	for n, p := range i.parts {
		if i.core.Pending(events.Partition(n)) {
			signal(p.ready)
		}
	}
	for id, m := range i.mailboxes {
		if i.core.Mail(id) > 0 {
			signal(m.ready)
		}
	}
	for _, f := range i.follows {
		if f.core.Waiting() > 0 {
			signal(f.ready)
		}
	}
}

func signal(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

// watch tells the core who is there.
func (i *Inbox) watch() {
	for {
		changed := i.options.Members.Changed()
		heard, all := i.options.Members.Everybody()
		here := make(map[uint64]struct{}, len(all))
		for _, m := range all {
			here[uint64(m.Process)] = struct{}{}
		}
		i.mu.Lock()
		before := i.core.Stats().Silent
		i.core.Present(heard, func(process uint64) bool { _, ok := here[process]; return ok })
		fell := i.core.Stats().Silent - before
		i.wake()
		i.mu.Unlock()
		if fell > 0 {
			i.options.Logger.Warn("processes of gateway sessions are silent: what they were given is given to others", slog.Uint64("sessions", fell))
		}
		select {
		case <-changed:
		case <-i.ctx.Done():
			return
		}
	}
}

// Open begins a session. It fails if the session is open.
func (i *Inbox) Open(_ context.Context, id events.SessionID) (inbox.Mailbox, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, fmt.Errorf("opening gateway session %d: %w", id, brokerlog.ErrClosed)
	}
	if err := i.core.Open(id); err != nil {
		return nil, err
	}
	m := &mailbox{inbox: i, id: id, ready: make(chan struct{}, 1)}
	i.mailboxes[id] = m
	i.wake()
	return m, nil
}

// Deliver hands deliveries to a session of any process. It fails with ErrGone when the session is not known, and as long as
// it has been asked for its present state, or as that is not taken by who follows the reports in this process: it comes after
// a report that the session is gone.
func (i *Inbox) Deliver(id events.SessionID, deliveries []inbox.Delivery) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("session %d, and the inbox is closed: %w", id, inbox.ErrGone)
	}
	err := i.core.Deliver(id, deliveries)
	i.wake()
	return err
}

// Report tells the schedulers what changed in a session of this process. One that is not open fails with ErrGone, unless the
// report says Gone.
func (i *Inbox) Report(r inbox.Report) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.Gone {
		delete(i.mailboxes, r.Session)
	}
	err := i.core.Report(r)
	i.wake()
	return err
}

// Reports begins a following. In a process that delivers it returns when the sessions of all gateways that are there have
// told their state, or after [Options.StateTimeout].
func (i *Inbox) Reports(ctx context.Context) (inbox.Reports, error) {
	i.mu.Lock()
	f := &following{inbox: i, core: i.core.Follow(), ready: make(chan struct{}, 1)}
	i.follows = append(i.follows, f)
	i.wake()
	i.mu.Unlock()
	if !i.options.Delivers {
		return f, nil
	}
	timeout := i.options.Clock.NewTimer(i.options.StateTimeout)
	defer timeout.Stop()
	for {
		changed := i.options.Members.Changed()
		complete, read := i.complete()
		if complete {
			return f, nil
		}
		select {
		case <-changed:
		case <-read:
		case <-timeout.C():
			i.options.Logger.Warn("not every gateway has told its state: what it holds may be given to others, too")
			return f, nil
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-i.ctx.Done():
			f.Close()
			return nil, fmt.Errorf("following the reports: %w", brokerlog.ErrClosed)
		}
	}
}

// complete reports whether all gateways that are there have told their state. Else read is closed when something was read.
func (i *Inbox) complete() (complete bool, read <-chan struct{}) {
	heard, all := i.options.Members.Everybody()
	var gateways []uint64
	for _, m := range all {
		if m.Role == i.options.GatewayRole {
			gateways = append(gateways, uint64(m.Process))
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waits = true
	return heard >= presence.Silence && i.core.Complete(gateways), i.read
}

// mailbox is the receiving end of a session.
type mailbox struct {
	inbox *Inbox
	id    events.SessionID
	ready chan struct{}
}

// Take returns waiting deliveries; nil when the session is gone.
func (m *mailbox) Take(limit int) []inbox.Delivery {
	i := m.inbox
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.mailboxes[m.id] != m {
		return nil
	}
	taken := i.core.TakeMail(m.id, limit)
	i.wake()
	return taken
}

// Ready has a value whenever Take may return something.
func (m *mailbox) Ready() <-chan struct{} { return m.ready }

// Close ends the session.
func (m *mailbox) Close() {
	i := m.inbox
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.mailboxes[m.id] == m {
		delete(i.mailboxes, m.id)
		i.core.Close(m.id)
		i.wake()
	}
}

// following is one following of the reports.
type following struct {
	inbox *Inbox
	core  *post.Follower
	ready chan struct{}
}

// Take returns waiting reports.
func (f *following) Take(limit int) []inbox.Report {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	taken := f.core.Take(limit)
	if f.core.Waiting() > 0 {
		signal(f.ready)
	}
	return taken
}

// Ready has a value whenever Take may return something.
func (f *following) Ready() <-chan struct{} { return f.ready }

// Close ends the following.
func (f *following) Close() {
	f.inbox.mu.Lock()
	defer f.inbox.mu.Unlock()
	f.core.End()
	f.inbox.follows = slices.DeleteFunc(f.inbox.follows, func(o *following) bool { return o == f })
}
