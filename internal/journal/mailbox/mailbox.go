// Package mailbox holds the commands of one partition in memory until its owner has handled them. It serves adapters that do
// not log commands on their own.
package mailbox

import (
	"fmt"
	"slices"
	"sync"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// DefaultClientLimit bounds the client commands that wait in one partition.
const DefaultClientLimit = 10_000

// keptItems is for how many commands a mailbox keeps its memory.
const keptItems = 1_024

// Mailbox is a queue of commands: the oldest ones may be taken by the owner and stay until they are consumed or the
// ownership ends. Commands of clients are refused above a limit; commands from inside never are, because each of them
// answers work that the engine itself gave out and bounded. Its methods may be called from any goroutine; it never calls a
// done function itself.
type Mailbox struct {
	clientLimit int
	full        error // what is said when there are so many
	ready       chan struct{}

	mu      sync.Mutex
	items   []item // the first taken ones are with the owner
	taken   int
	clients int // client commands among items
	closed  bool
}

type item struct {
	command events.Envelope
	done    func(error)
	client  bool
}

// New makes an empty mailbox that holds at most clientLimit client commands; 0 means [DefaultClientLimit].
func New(clientLimit int) *Mailbox {
	if clientLimit == 0 {
		clientLimit = DefaultClientLimit
	}
	return &Mailbox{
		clientLimit: clientLimit, ready: make(chan struct{}, 1),
		full: fmt.Errorf("%w: %d, which is the limit; try again later", journal.ErrFull, clientLimit),
	}
}

// Put adds a command. It fails with [journal.ErrFull] or [journal.ErrClosed] and keeps nothing then.
func (m *Mailbox) Put(command events.Envelope, done func(error)) error {
	client := events.FromClient(command.Command)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return journal.ErrClosed
	}
	if client {
		if m.clients >= m.clientLimit {
			return m.full
		}
		m.clients++
	}
	m.items = append(m.items, item{command: command, done: done, client: client})
	m.wake()
	return nil
}

// Ready has a value whenever a command may wait; a value may be spurious.
func (m *Mailbox) Ready() <-chan struct{} { return m.ready }

// Wake puts a value into Ready.
func (m *Mailbox) Wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake()
}

func (m *Mailbox) wake() {
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// Waiting returns how many commands wait to be taken.
func (m *Mailbox) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items) - m.taken
}

// Len returns how many commands wait or are taken and not consumed.
func (m *Mailbox) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items)
}

// Take appends up to limit waiting commands to dst, in order.
func (m *Mailbox) Take(dst []events.Envelope, limit int) []events.Envelope {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := max(0, min(limit, len(m.items)-m.taken))
	dst = slices.Grow(dst, n)
	for i := range n {
		dst = append(dst, m.items[m.taken+i].command)
	}
	m.taken += n
	return dst
}

// Taken returns how many commands are taken and not consumed.
func (m *Mailbox) Taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// Consume removes the n oldest taken commands and appends their done functions to dst in order, without nil ones. There
// must be that many.
func (m *Mailbox) Consume(dst []func(error), n int) []func(error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.taken {
		panic(fmt.Sprintf("mailbox: %d commands consumed, %d taken", n, m.taken))
	}
	return m.remove(dst, n)
}

// Abandon removes all taken commands and returns their done functions: their ownership has ended.
func (m *Mailbox) Abandon() []func(error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dones := m.remove(nil, m.taken)
	if mutant.On(mutant.AbandonedUnanswered) {
		return nil
	}
	return dones
}

// Close removes all commands, returns their done functions and refuses new commands from then on.
func (m *Mailbox) Close() []func(error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.taken = len(m.items)
	m.wake()
	return m.remove(nil, m.taken)
}

// remove drops the n oldest items, which are all taken, and appends their done functions to dst.
func (m *Mailbox) remove(dst []func(error), n int) []func(error) {
	if n == 0 {
		return dst
	}
	dst = slices.Grow(dst, n)
	for i := range m.items[:n] {
		it := &m.items[i]
		if it.done != nil {
			dst = append(dst, it.done)
		}
		if it.client && !mutant.On(mutant.MailboxLeaksRoom) {
			m.clients--
		}
		*it = item{}
	}
	m.taken -= n
	if left := len(m.items) - n; left <= n && cap(m.items) <= keptItems {
		copy(m.items, m.items[n:])
		clear(m.items[left:])
		m.items = m.items[:left]
	} else {
		m.items = m.items[n:]
	}
	return dst
}
