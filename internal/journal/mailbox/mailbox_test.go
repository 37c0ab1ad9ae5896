package mailbox_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/journal/mailbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

func signal() events.Envelope {
	return events.Envelope{WorkflowID: "w", Command: events.SignalWorkflow{Name: "s"}}
}

func put(t *testing.T, m *mailbox.Mailbox, done func(error), envelopes ...events.Envelope) {
	t.Helper()
	for _, e := range envelopes {
		if err := m.Put(e, done); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
}

// The room for commands of clients is free again when they are consumed or abandoned, and only then.
func TestRoomComesBack(t *testing.T) {
	t.Parallel()
	for _, end := range []struct {
		name string
		call func(*mailbox.Mailbox)
	}{
		{"Consume", func(m *mailbox.Mailbox) { m.Consume(nil, 2) }},
		{"Abandon", func(m *mailbox.Mailbox) { m.Abandon() }},
	} {
		m := mailbox.New(2)
		for range 3 {
			put(t, m, nil, signal(), signal())
			if err := m.Put(signal(), nil); !errors.Is(err, journal.ErrFull) {
				t.Fatalf("a third command of a client: %v, want ErrFull", err)
			}
			put(t, m, nil, events.Envelope{WorkflowID: "w", Command: events.FireTimer{}}) // from inside: never refused
			if n := len(m.Take(nil, 2)); n != 2 {
				t.Fatalf("Take(2) took %d", n)
			}
			if err := m.Put(signal(), nil); !errors.Is(err, journal.ErrFull) {
				t.Fatalf("%s: while two are taken: %v, want ErrFull", end.name, err)
			}
			end.call(m)
			m.Take(nil, 1)
			m.Consume(nil, 1)
		}
	}
}

// Every sender learns what became of its command, in the order of sending.
func TestEveryDoneIsReturned(t *testing.T) {
	t.Parallel()
	var called []int
	done := func(n int) func(error) { return func(error) { called = append(called, n) } }
	call := func(dones []func(error)) {
		for _, d := range dones {
			d(nil)
		}
	}
	m := mailbox.New(0)
	for n := range 6 {
		put(t, m, done(n), signal())
	}
	m.Take(nil, 1)
	m.Take(nil, 3)
	call(m.Consume(nil, 1))
	call(m.Abandon())
	if m.Waiting() != 2 || m.Taken() != 0 {
		t.Errorf("%d wait and %d are taken, want 2 and 0", m.Waiting(), m.Taken())
	}
	call(m.Close())
	if len(called) != 6 {
		t.Fatalf("%v were told, want all 6", called)
	}
	for n, got := range called {
		if n != got {
			t.Errorf("told in the order %v", called)
			break
		}
	}
	if err := m.Put(signal(), nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
}

// Commands are taken and done in their order, whatever was consumed between.
func TestOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := mailbox.New(0)
		var sent, took, finished uint64 // numbers of commands
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			n := rapid.SampledFrom([]int{1, 2, 5, 700}).Draw(t, "n")
			switch rapid.IntRange(0, 2).Draw(t, "call") {
			case 0:
				for range n {
					sent++
					number, e := sent, signal()
					e.N = number
					done := func(error) {
						if finished++; finished != number {
							t.Fatalf("command %d is done, %d was due", number, finished)
						}
					}
					if err := m.Put(e, done); err != nil {
						t.Fatal(err)
					}
				}
			case 1:
				for _, e := range m.Take(nil, n) {
					if took++; e.N != took {
						t.Fatalf("command %d is taken, %d was due", e.N, took)
					}
				}
			default:
				for _, done := range m.Consume(nil, min(n, m.Taken())) {
					done(nil)
				}
			}
			if m.Len() != int(sent-finished) || m.Waiting() != int(sent-took) {
				t.Fatalf("%d commands, %d of them wait; should be %d and %d", m.Len(), m.Waiting(), sent-finished, sent-took)
			}
		}
	})
}
