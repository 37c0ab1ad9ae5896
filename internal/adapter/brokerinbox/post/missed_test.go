package post

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/inbox"
)

// send takes the next message of a core out, and lets it come back to it or not.
func (p pair) send(from *Core, back bool) []byte {
	p.t.Helper()
	body, _ := from.Next(0)
	if body == nil {
		p.t.Fatal("there is no message")
	}
	if back {
		from.Read(0, body)
	}
	return body
}

func (p pair) credit(n int) {
	p.t.Helper()
	p.check(p.gate.Report(inbox.Report{Session: 7, Credits: []inbox.Credit{{Worker: "w", Tasks: n}}}))
}

// places adds up what a follower is told.
func places(f *Follower) (sum int) {
	for f.Waiting() > 0 {
		for _, r := range f.Take(100) {
			if r.Gone {
				sum = 0
			}
			for _, c := range r.Credits {
				sum += c.Tasks
			}
		}
	}
	return sum
}

// TestMissedMessage: what came back to its sender and not to another reader is noticed with the next message.
func TestMissedMessage(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	f := p.other.Follow()
	p.check(p.gate.Report(joined("w", 5)))
	p.run()

	p.credit(1)
	p.send(p.gate, true)
	p.credit(2)
	p.other.Read(0, p.send(p.gate, true))
	p.run()
	if got := places(f); got != 8 || p.other.Stats().Missed != 1 {
		t.Errorf("%d places are known, %+v", got, p.other.Stats())
	}

	one := someDeliveries[0]
	p.check(p.other.Deliver(7, []inbox.Delivery{one}))
	p.send(p.other, true)
	p.check(p.other.Deliver(7, []inbox.Delivery{one}))
	p.gate.Read(0, p.send(p.other, true))
	p.run()
	if got := places(f); got != 8 || p.gate.Mail(7) != 0 || p.gate.Stats().Void != 1 {
		t.Errorf("%d places are known, %d deliveries came, and %+v", got, p.gate.Mail(7), p.gate.Stats())
	}
}

// TestBeginsInTheMiddle: who begins to read behind messages that are on their way takes what comes; when one that lies before
// it comes later, it is noticed that it had failed.
func TestBeginsInTheMiddle(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.check(p.gate.Report(joined("w", 5)))
	p.run()
	p.credit(1)
	failed := p.send(p.gate, false)
	p.credit(2)
	early := p.send(p.gate, false)

	p.other = New(Config{Life: 3, Process: 2, Partitions: 1, Delivers: true, Silence: 4})
	f := p.other.Follow()
	p.other.Read(0, early)
	p.gate.Read(0, early)
	if stats := p.other.Stats(); stats.Missed != 0 || stats.Early != 0 {
		t.Errorf("%+v", stats)
	}
	p.other.Begin()
	p.gate.Failed(0, p.gate.Try(0))
	p.run()
	if stats := p.other.Stats(); stats.Missed != 1 || places(f) != 8 {
		t.Errorf("%+v", stats)
	}
	missed := p.other.Stats().Missed
	p.other.Read(0, failed)
	p.other.Read(0, early)
	if stats := p.other.Stats(); stats.Missed != missed {
		t.Error("what is repeated counts as missed")
	}
}

// TestQuestionThatIsMissed: a state that is said because something was missed answers whatever was asked.
func TestQuestionThatIsMissed(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	p.check(p.gate.Report(joined("w", 5)))
	p.run()
	f := p.other.Follow()
	p.send(p.other, true) // the question, which the gateway does not read
	if places(f) != 0 || p.other.Complete([]uint64{1}) {
		t.Fatal("the session has not answered")
	}
	p.gate.Lost(0)
	p.run()
	if got := places(f); got != 5 || !p.other.Complete([]uint64{1}) {
		t.Errorf("%d places are known", got)
	}
}
