package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

func TestTransportRepeatsACommand(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	first, second := d.stamped(start(1)), d.stamped(signal(1, "go"))
	d.do(first, second)
	d.advance(time.Minute)
	d.do(d.stamped(to(1, events.GetRun{})))
	for _, restart := range []func(){func() {}, func() { d.crash(0) }, func() { d.store = d.store.Reopen(); d.recover() }} {
		restart()
		answers := d.do(second, first)
		equal(t, "answers", codes(answers), "ok+ ok+")
		equal(t, "run", answers[0].RunID, runID(1))
		equal(t, "stamp", answers[0].N, second.N)
		equal(t, "history", d.history(1), "RunStarted SignalReceived ActivationScheduled")
	}
}

func TestRepeatedCommandWhoseAnswerIsForgotten(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	first := d.stamped(start(1))
	d.do(first)
	d.core.recent = recent{}
	a := d.one(first)
	equal(t, "code", a.Code, events.Accepted)
	equal(t, "duplicate", a.Duplicate, true)
}

// TestLostCommandsComeAfterNewerOnes: what was never handled is handled, under its old number, once.
func TestLostCommandsComeAfterNewerOnes(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(d.stamped(start(1)))
	var sent []events.Envelope
	for range 6 {
		sent = append(sent, d.stamped(signal(1, "go")))
	}
	for _, step := range []struct {
		commands []int
		want     string
	}{
		{[]int{0}, "ok"},
		{[]int{3}, "ok"},
		{[]int{5}, "ok"},
		{[]int{3, 0, 5}, "ok+ ok+ ok+"},
		{[]int{2, 4}, "ok ok"},
		{[]int{1, 2, 1}, "ok ok+ ok+"},
		{[]int{0, 1, 2, 3, 4, 5}, "ok+ ok+ ok+ ok+ ok+ ok+"},
	} {
		var batch []events.Envelope
		for _, i := range step.commands {
			batch = append(batch, sent[i])
		}
		got := map[string]int{}
		for code := range strings.FieldsSeq(codes(d.do(batch...))) {
			got[code]++
		}
		want := map[string]int{}
		for code := range strings.FieldsSeq(step.want) {
			want[code]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("commands %v: %v, want %v", step.commands, got, want)
		}
		d.crash(0)
	}
	equal(t, "signals", strings.Count(d.history(1), "SignalReceived"), 6)
	equal(t, "gaps", len(d.core.sessions[7].gaps), 0)
}

// TestSessionGaps holds the bookkeeping of handled numbers against a set.
func TestSessionGaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, handled := &session{}, map[uint64]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			n := rapid.Uint64Range(1, 20).Draw(t, "n")
			s.add(n)
			handled[n] = true
			for n := uint64(1); n <= 21; n++ {
				if handled[n] != s.has(n) {
					t.Fatalf("command %d: handled %t, known as %t (%+v)", n, handled[n], s.has(n), s)
				}
			}
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for n := range maxSessions + 10 {
		d.core.handled(events.Answer{Session: events.SessionID(n + 1), N: 1}, d.now+events.Time(n))
		for gaps := range uint64(5) {
			d.core.handled(events.Answer{Session: events.SessionID(n + 1), N: 1e6 + 2*gaps}, d.now+events.Time(n))
		}
	}
	equal(t, "sessions", len(d.core.sessions), maxSessions)
	if d.core.sessions[10] != nil || d.core.sessions[11] == nil {
		t.Error("not the longest silent sessions are forgotten")
	}
	if n := len(d.core.state()); n > 1<<20 {
		t.Errorf("the state of a checkpoint has %d bytes", n)
	}
	d.core.time = d.now.Add(25 * time.Hour)
	d.core.forgetIdleSessions()
	equal(t, "a day later", len(d.core.sessions), 0)
}

func TestRecentAnswersAreBounded(t *testing.T) {
	t.Parallel()
	var r recent
	for n := range uint64(3 * recentAnswers) {
		r.add(events.Answer{Session: 1, N: n})
	}
	equal(t, "answers", r.taken, recentAnswers)
	equal(t, "spans", len(r.spans), recentAnswers/spanNumbers)
	if a, _ := r.find(stamp{1, 2*recentAnswers + 17}); a.N != 2*recentAnswers+17 {
		t.Errorf("the answer found is that to command %d", a.N)
	}
	if _, ok := r.find(stamp{1, 3*recentAnswers - 1}); !ok {
		t.Error("the newest is forgotten")
	}
	if _, ok := r.find(stamp{1, 2*recentAnswers - 1}); ok {
		t.Error("an old one is kept")
	}
}

// TestRecentAnswers holds the memory against a list of the newest answers: sessions mix, numbers jump and come again.
func TestRecentAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) //nolint:gosec // commands, not secrets
		reach := rapid.SampledFrom([]uint64{1, 3, spanNumbers, 5_000}).Draw(t, "reach")
		sessions := rapid.Uint64Range(1, 5).Draw(t, "sessions")
		var r recent
		var list []stamp
		kept := map[stamp]uint64{} // when it was added
		for n := range uint64(2 * recentAnswers) {
			s := stamp{events.SessionID(random.Uint64N(sessions)), n/2 + random.Uint64N(reach)}
			r.add(events.Answer{Session: s.session, N: s.n, Ended: events.EventNumber(n)})
			if _, ok := kept[s]; s.session != 0 && !ok {
				kept[s] = n
				if list = append(list, s); len(list) > recentAnswers {
					delete(kept, list[0])
					list = list[1:]
				}
			}
			s = stamp{s.session, n/2 + random.Uint64N(reach) - random.Uint64N(recentAnswers)}
			a, ok := r.find(s)
			if at, want := kept[s]; ok != want || uint64(a.Ended) != at {
				t.Fatalf("after %d answers that to command %v is known as %t, and should as %t", n, s, ok, want)
			}
		}
		if r.taken != len(list) || len(r.spans) > len(list) {
			t.Fatalf("%d answers in %d spans are kept, not %d", r.taken, len(r.spans), len(list))
		}
	})
}

func TestRepeatedRequest(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	request := requested(signal(1, "go"), "order-17")
	equal(t, "in one batch", codes(d.do(request, request)), "ok ok+")
	for _, restart := range []func(){
		func() {},
		func() { d.crash(0) },
		func() { d.must(d.core.flush(t.Context())) },
		func() { d.do(); d.crash(1) },
	} {
		restart()
		equal(t, "repeated", codes(d.do(request)), "ok+")
		equal(t, "history", d.history(1), "RunStarted ActivationScheduled SignalReceived")
	}
	d.advance(25 * time.Hour)
	equal(t, "a day later it is a new request", codes(d.do(request)), "ok")
}

// TestRepeatedRequestMeetsANewerRun: a request to the newest run that was done and not heard of comes again when another run
// has begun. It was done by the run before.
func TestRepeatedRequestMeetsANewerRun(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(*driver){
		"nothing": func(*driver) {},
		"crash":   func(d *driver) { d.crash(0) },
		"flush":   func(d *driver) { d.must(d.core.flush(t.Context())) },
		"flushed": func(d *driver) { d.must(d.core.flush(t.Context())); d.crash(0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t)
			toNewest := func(env events.Envelope) events.Envelope {
				env.RunID = events.RunID{}
				return env
			}
			d.do(start(1))
			restart(d)
			request := requested(toNewest(signal(1, "go")), "order-17")
			equal(t, "at first", codes(d.do(request)), "ok")
			for n := 2; n <= 4; n++ {
				next := start(n)
				next.WorkflowID = "w1"
				restart(d)
				equal(t, "the next run", codes(d.do(toNewest(to(1, events.TerminateWorkflow{})), next)), "ok ok")
				restart(d)
				a := d.one(request)
				equal(t, "repeated", codes([]events.Answer{a}), "ok+")
				equal(t, "run", a.RunID, runID(1))
				equal(t, "who did it", d.one(requested(toNewest(to(1, events.GetRun{})), "order-17")).RunID, runID(1))
				equal(t, "who did another", d.one(requested(toNewest(to(1, events.GetRun{})), "order-18")).RunID, runID(n))
				equal(t, "history", d.history(n), "RunStarted ActivationScheduled")
			}
			named := request
			named.RunID = runID(4)
			equal(t, "to a run that is named", codes(d.do(named)), "ok")
			d.advance(25 * time.Hour)
			equal(t, "a day later it is a new request", codes(d.do(requested(toNewest(signal(1, "go")), "order-17"))), "ok")
		})
	}
}

func TestRefusedRequestMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	for range MaxUnread {
		d.do(signal(1, "full"))
	}
	request := requested(signal(1, "go"), "r")
	equal(t, "full", codes(d.do(request)), "inbox_full")
	d.do(to(1, events.ReportProgress{Activation: 1, Attempt: 1, Upto: 1}))
	d.do(to(1, events.CancelWorkflow{}))
	d.do(to(1, events.ReportProgress{
		Activation: 2, Attempt: 1, Upto: MaxUnread + 4, Reads: []events.SignalRead{{Name: "full", Count: MaxUnread}},
	}))
	equal(t, "after reading", codes(d.do(request)), "ok")
}

// MaxUnread is the bound of a run's inbox.
const MaxUnread = 10_000

func TestRequestsPerRunAreBounded(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	request := func(n int) events.Envelope { return requested(to(1, events.CancelWorkflow{}), fmt.Sprint("r", n)) }
	d.do(request(0))
	for n := range requestsKept {
		env := requested(signal(1, "go"), fmt.Sprint("r", n+1))
		equal(t, "answer", codes(d.do(env)), "ok")
		if n%300 == 0 {
			d.must(d.core.flush(t.Context()))
		}
	}
	d.must(d.core.flush(t.Context()))
	for n, known := range map[int]bool{0: false, 1: true, requestsKept: true} {
		_, ok, err := d.store.RunStore().Answer(t.Context(), 0, runID(1), events.RequestID(fmt.Sprint("r", n)))
		d.must(err)
		equal(t, fmt.Sprint("request ", n, " is kept"), ok, known)
	}
}

func TestKeptAnswersAreSmall(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1))
	e, err := d.core.load(t.Context(), runID(1))
	d.must(err)
	d.must(d.core.keep(t.Context(), e, events.Answer{RequestID: "r", Code: events.OK, Message: strings.Repeat("x", 5000)}, d.now))
	kept, err := d.core.kept(t.Context(), requestKey{e.id, "r"})
	d.must(err)
	if n := len(events.AppendAnswer(nil, &kept.Answer)); n > 1<<10 {
		t.Errorf("a kept answer has %d bytes", n)
	}
}

// TestSecondCancelIsRemembered: a request to cancel that changes nothing, because the run was asked before, gets the same
// answer when it is repeated after the run has ended.
func TestSecondCancelIsRemembered(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1), sleep(1))
	d.one(requested(to(1, events.CancelWorkflow{}), "first"))
	again := requested(to(1, events.CancelWorkflow{}), "second")
	equal(t, "the second request", d.one(again).Code, events.OK)
	d.one(requested(to(1, events.TerminateWorkflow{}), "end"))
	equal(t, "the same after the end", d.one(again).Code, events.OK)
	d.crash(0)
	equal(t, "the same after a crash", d.one(again).Code, events.OK)
}
