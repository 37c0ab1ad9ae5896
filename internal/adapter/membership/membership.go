// Package membership shares partitions among the processes of a cluster: the shell around package presence. Processes
// announce themselves on the presence topic of the log, each half a second, and read what others say; nothing else is needed.
//
// Who is to work on a partition waits for it ([Membership.Await]), says that it does ([Membership.Begin]) and that it does no
// more ([Membership.End]). When partitions are to move, the one that has them is told first and the other waits for its word,
// or for its silence.
package membership

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

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
)

// DefaultEvery is how often a process announces itself; others take it to be gone after [presence.Silence] times that.
const DefaultEvery = 500 * time.Millisecond

// joinEvery is the rhythm of the first announcements, which others answer.
const joinEvery = 100 * time.Millisecond

// leaveTimeout bounds the last announcement.
const leaveTimeout = time.Second

// topicPartition is where all announcements are, so that they have one order.
const topicPartition = 0

// hold is the name under which the broker is asked to keep announcements: none but the newest are wanted.
const hold = "presence"

// ErrLeft says that the membership has ended.
var ErrLeft = errors.New("the process has left the cluster")

// Options of a membership. Log, Clock, Logger and Role are needed.
type Options struct {
	Log    brokerlog.Log
	Clock  clock.Clock
	Logger *slog.Logger
	// Role is what the process does: partitions are shared among those of one role.
	Role string
	// Name is host and process id, for people.
	Name string
	// Every is the rhythm of announcements; 0 means [DefaultEvery]. All processes of a cluster should have the same.
	Every time.Duration
}

// Membership is one process's place in its cluster. Its methods may be called from any goroutine.
type Membership struct {
	options Options
	self    presence.Process
	ctx     context.Context // ends with Leave
	cancel  context.CancelFunc
	all     sync.WaitGroup
	nudge   chan struct{} // has a value when an announcement is due at once
	wrong   chan error    // has a value when the process must not be a member

	mu     sync.Mutex
	view   *presence.View
	clocks *presence.Clocks
	works  map[events.Partition]struct{}
	moved  chan struct{} // closed and replaced when the view changes
	aside  bool          // it is about to leave
	n      uint64        // announcements made
	beats  uint64        // of them in the rhythm
}

// Join begins to announce the process and to listen. It returns when the presence topic can be read.
func Join(ctx context.Context, o Options) (*Membership, error) {
	if o.Log == nil || o.Clock == nil || o.Logger == nil || o.Role == "" {
		return nil, errors.New("membership: Log, Clock, Logger and Role are needed")
	}
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	m := &Membership{options: o, self: newProcess(), nudge: make(chan struct{}, 1), works: map[events.Partition]struct{}{}, moved: make(chan struct{}), wrong: make(chan error, 1)}
	m.view, m.clocks = presence.NewView(m.self, o.Role), presence.NewClocks(m.self)
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	reader, err := m.open(ctx)
	if err != nil {
		m.cancel()
		return nil, fmt.Errorf("joining the cluster: %w", err)
	}
	appender, err := o.Log.Appender(ctx, brokerlog.Presence, topicPartition)
	if err != nil {
		m.cancel()
		reader.Close()
		return nil, fmt.Errorf("joining the cluster: %w", err)
	}
	m.all.Go(func() { m.listen(reader) })
	m.all.Go(func() { m.announce(appender) })
	return m, nil
}

func newProcess() presence.Process {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return presence.Process(binary.BigEndian.Uint64(b[:]))
}

// open reads announcements from the newest one on: who is there says more soon.
func (m *Membership) open(ctx context.Context) (brokerlog.Reader, error) {
	end, err := m.options.Log.End(ctx, brokerlog.Presence, topicPartition)
	if err != nil {
		return nil, err
	}
	return m.options.Log.Read(ctx, brokerlog.Presence, topicPartition, end)
}

// StandAside says that this process is about to leave: what it works on goes to others one by one, as soon as it has said
// [Membership.End], instead of all at once when it has left.
func (m *Membership) StandAside() {
	m.mu.Lock()
	m.aside = true
	m.mu.Unlock()
	m.announceNow()
}

// Leave says goodbye, so that nobody waits for a silence, and ends the membership.
func (m *Membership) Leave() {
	m.cancel()
	m.all.Wait()
}

// Self returns the random number of this process.
func (m *Membership) Self() presence.Process { return m.self }

// Watch returns nil when ctx ends, and an error if this process must not be a member: its clock is not that of those who were
// there before.
func (m *Membership) Watch(ctx context.Context) error {
	select {
	case err := <-m.wrong:
		return err
	case <-ctx.Done():
		return nil
	}
}

// differs takes note of a process whose clock differs. The lock is held.
func (m *Membership) differs(a *presence.Announcement, ahead time.Duration) {
	side, by := "behind", ahead
	if ahead < 0 {
		side, by = "ahead of", -ahead
	}
	by = by.Round(time.Second)
	// By beats, not by how much was said: who takes many partitions has soon said more than one that has stood by for long.
	if a.Beat < m.beats || a.Beat == m.beats && a.Process > m.self {
		m.options.Logger.Error("the clock of a process that has come is not this one's; it should have ended", slog.String("process", a.Name),
			slog.String("role", a.Role), slog.Duration("differs", by))
		return
	}
	select {
	case m.wrong <- fmt.Errorf("the clock of this process is %v %s that of %s %s, which was there before; they may differ by %v: set the clock right and start again",
		by, side, a.Role, a.Name, presence.MaxSkew):
	default:
	}
}

// Present returns who of the same role is there.
func (m *Membership) Present() []presence.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.Present()
}

// Everybody returns who is there in any role, and how many own announcements came back: the only time that is measured.
func (m *Membership) Everybody() (heard uint64, all []presence.Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.Heard(), m.view.All()
}

// Changed returns a channel that is closed when somebody has spoken next.
func (m *Membership) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

// Await returns when this process should work on a partition and nobody else says that he does.
func (m *Membership) Await(ctx context.Context, p events.Partition) error {
	for {
		m.mu.Lock()
		mine, moved := m.view.Mine(p) && !m.view.Busy(p), m.moved
		m.mu.Unlock()
		switch {
		case m.ctx.Err() != nil:
			return ErrLeft
		case ctx.Err() != nil:
			return ctx.Err()
		case mine:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-m.ctx.Done():
		}
	}
}

// Lost returns when another process should work on a partition, or the membership or ctx ends.
func (m *Membership) Lost(ctx context.Context, p events.Partition) {
	for {
		m.mu.Lock()
		mine, moved := m.view.Mine(p), m.moved
		m.mu.Unlock()
		if !mine {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		case <-m.ctx.Done():
			return
		}
	}
}

// Begin says that this process works on a partition.
func (m *Membership) Begin(p events.Partition) {
	m.mu.Lock()
	m.works[p] = struct{}{}
	m.mu.Unlock()
	m.announceNow()
}

// End says that it does no more.
func (m *Membership) End(p events.Partition) {
	m.mu.Lock()
	delete(m.works, p)
	m.mu.Unlock()
	m.announceNow()
}

func (m *Membership) announceNow() {
	select {
	case m.nudge <- struct{}{}:
	default:
	}
}

// next makes the next announcement.
func (m *Membership) next(beat, leaving bool) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	if beat {
		m.beats++
	}
	a := presence.Announcement{Process: m.self, Role: m.options.Role, Name: m.options.Name, N: m.n, Beat: m.beats, At: events.TimeOf(m.options.Clock.Now()), Aside: m.aside, Leaving: leaving}
	for p := range m.works {
		a.Works = append(a.Works, p)
	}
	slices.Sort(a.Works)
	if leaving {
		a.Works = nil
	}
	return presence.Append(nil, &a)
}

// announce appends announcements, one at a time: a broker that is away is not flooded when it comes back.
func (m *Membership) announce(to brokerlog.Appender) {
	defer to.Close()
	timer := m.options.Clock.NewTimer(0)
	defer timer.Stop()
	told := make(chan error, 1)
	for waiting := false; ; {
		due := timer.C()
		nudge := m.nudge
		if waiting {
			due, nudge = nil, nil
		}
		beat := false
		select {
		case <-due:
			beat = true
		case <-nudge:
		case err := <-told:
			waiting = false
			m.warn(err)
			continue
		case <-m.ctx.Done():
			m.goodbye(to, told, waiting)
			return
		}
		waiting = true
		to.Append(m.ctx, m.next(beat, false), func(err error) { told <- err })
		if beat {
			every := m.options.Every
			if m.beats < presence.Settled {
				every = min(every, joinEvery)
			}
			timer.Reset(every)
		}
	}
}

// goodbye appends the last announcement, and does not wait for long.
func (m *Membership) goodbye(to brokerlog.Appender, told chan error, waiting bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), leaveTimeout)
	defer cancel()
	over := m.options.Clock.NewTimer(leaveTimeout)
	defer over.Stop()
	if waiting {
		select {
		case err := <-told:
			m.warn(err)
		case <-over.C():
			return
		}
	}
	to.Append(ctx, m.next(false, true), func(err error) { told <- err })
	select {
	case err := <-told:
		m.warn(err)
	case <-over.C():
	}
}

func (m *Membership) warn(err error) {
	if err != nil {
		m.options.Logger.Warn("an announcement may not have arrived", slog.String("role", m.options.Role), slog.String("error", err.Error()))
	}
}

// listen reads announcements until the membership ends.
func (m *Membership) listen(r brokerlog.Reader) {
	for m.ctx.Err() == nil {
		err := m.read(r)
		r.Close()
		for err != nil && m.ctx.Err() == nil {
			if errors.Is(err, brokerlog.ErrClosed) {
				m.options.Logger.Error("announcements cannot be read any more", slog.String("role", m.options.Role), slog.String("error", err.Error()))
				return
			}
			m.options.Logger.Warn("announcements are read anew", slog.String("role", m.options.Role), slog.String("error", err.Error()))
			select {
			case <-m.options.Clock.After(m.options.Every):
			case <-m.ctx.Done():
				return
			}
			r, err = m.open(m.ctx)
		}
	}
}

// read reads announcements until that fails.
func (m *Membership) read(r brokerlog.Reader) error {
	const limit, keepEvery = 256, 1_000
	for seen := 0; ; {
		messages, err := r.Next(m.ctx, limit)
		if err != nil {
			return err
		}
		answer := false
		m.mu.Lock()
		for _, message := range messages {
			a, err := presence.Decode(message.Body)
			if err != nil {
				continue // of another version
			}
			if ahead, differs := m.clocks.Read(a, events.TimeOf(m.options.Clock.Now())); differs {
				m.differs(&a, ahead)
			}
			if m.view.Read(a) {
				answer = true
			}
		}
		close(m.moved)
		m.moved = make(chan struct{})
		m.mu.Unlock()
		if answer {
			m.announceNow()
		}
		if seen += len(messages); seen >= keepEvery {
			seen = 0
			if err := m.options.Log.Keep(m.ctx, brokerlog.Presence, topicPartition, hold, messages[len(messages)-1].At); err != nil {
				m.options.Logger.Warn("old announcements stay in the log", slog.String("error", err.Error()))
			}
		}
	}
}
