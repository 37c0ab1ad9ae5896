package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// served is an engine that answers the oldest command every so often, and clients that ask every so often.
type served struct {
	a       admission
	now     time.Duration
	waiting []time.Duration
	worst   time.Duration
	refused int
	taken   int
}

// soon is how quick answers are while an engine that needs perAnswer for each is overloaded: those let in at least wait for each
// other.
func soon(perAnswer time.Duration) time.Duration {
	return max(2*admissionTarget, admissionLeast*perAnswer*3/2)
}

func (s *served) run(t *testing.T, length, perAnswer, perAsk time.Duration) {
	t.Helper()
	s.worst, s.refused, s.taken = 0, 0, 0
	end, answer, ask := s.now+length, s.now+perAnswer, s.now+perAsk
	for s.now < end {
		if ask <= answer {
			s.now = ask
			ask += perAsk
			switch err := s.a.enter(s.now); {
			case err == nil:
				s.waiting = append(s.waiting, s.now)
				s.taken++
			case !errors.Is(err, &events.Error{Code: events.Overloaded}):
				t.Fatal(err)
			default:
				s.refused++
				var e *events.Error
				if errors.As(err, &e); e.RetryAfterMs <= 0 {
					t.Fatal("a refusal does not say when to try again")
				}
			}
			continue
		}
		s.now = answer
		answer += perAnswer
		if len(s.waiting) > 0 {
			s.worst = max(s.worst, s.now-s.waiting[0])
			s.a.leave(s.waiting[0], s.now, true)
			s.waiting = s.waiting[1:]
		}
	}
}

func TestAdmissionKeepsAnswersQuickUnderOverload(t *testing.T) {
	t.Parallel()
	s := &served{}
	const perAnswer = 200 * time.Microsecond // 5,000 a second
	s.run(t, time.Second, perAnswer, 2*perAnswer)
	if s.refused > 0 {
		t.Fatalf("%d were refused at half the capacity", s.refused)
	}
	s.run(t, time.Second, perAnswer, perAnswer/3) // it takes a moment to notice
	s.run(t, 60*time.Second, perAnswer, perAnswer/3)
	if s.worst > soon(perAnswer) {
		t.Errorf("at three times the capacity an answer took %s", s.worst)
	}
	if taken := float64(s.taken) / 60; taken < 0.9*5_000 {
		t.Errorf("at three times the capacity %.0f of 5,000 a second are let in", taken)
	}
	s.run(t, time.Second, perAnswer, 2*perAnswer) // back to normal
	s.run(t, time.Second, perAnswer, 2*perAnswer)
	if s.refused > 0 {
		t.Errorf("%d were refused after the overload", s.refused)
	}
}

// Those who do not wait for their answers make everybody slow who is let in: of them fewer are.
func TestAdmissionHoldsAFloodShort(t *testing.T) {
	t.Parallel()
	s := &served{}
	const perAnswer = 50 * time.Microsecond // 20,000 a second
	s.run(t, time.Second, perAnswer, perAnswer/4)
	s.run(t, 30*time.Second, perAnswer, perAnswer/4)
	if s.worst > 2*floodTarget {
		t.Errorf("at four times the capacity an answer took %s", s.worst)
	}
	if taken := float64(s.taken) / 30; taken < 0.9*20_000 {
		t.Errorf("at four times the capacity %.0f of 20,000 a second are let in", taken)
	}
	s.run(t, time.Second, perAnswer, perAnswer*10/11) // a little more than the capacity: the bound of a flood does not hold any more
	s.run(t, 10*time.Second, perAnswer, perAnswer*10/11)
	if taken := float64(s.taken) / 10; taken < 0.9*20_000 {
		t.Errorf("at 1.1 times the capacity %.0f of 20,000 a second are let in", taken)
	}
}

// A slow engine is no reason to refuse, as long as it is not behind.
func TestAdmissionLetsFewIn(t *testing.T) {
	t.Parallel()
	s := &served{}
	s.run(t, 10*time.Second, 20*time.Millisecond, 25*time.Millisecond)
	if s.refused > 0 {
		t.Errorf("%d of 400 were refused by an engine that keeps up", s.refused)
	}
}

// An engine whose every answer takes long, but many at a time, is not behind: a disk that has become slow is found out.
func TestAdmissionFollowsASlowDisk(t *testing.T) {
	t.Parallel()
	var (
		a       admission
		now     time.Duration
		waiting []time.Duration
		refused int
	)
	run := func(length, each time.Duration) {
		refused = 0
		for end := now + length; now < end; now += time.Millisecond {
			for len(waiting) > 0 && now-waiting[0] >= each {
				a.leave(waiting[0], now, true)
				waiting = waiting[1:]
			}
			for range 5 { // 5,000 a second
				if a.enter(now) != nil {
					refused++
					continue
				}
				waiting = append(waiting, now)
			}
		}
	}
	run(5*time.Second, 2*time.Millisecond)
	if refused > 0 {
		t.Fatalf("%d were refused while the disk was quick", refused)
	}
	run(12*time.Second, 40*time.Millisecond)
	run(30*time.Second, 40*time.Millisecond)
	if refused > 0 {
		t.Errorf("%d were refused after it was seen that the disk is slow", refused)
	}
}

// A queue is seen although some are answered at once, as those are that come just before a commit.
func TestAdmissionIsNotLedAwayByAFewQuickAnswers(t *testing.T) {
	t.Parallel()
	const callers, quickOne = 2 * admissionLeast, 10
	var a admission
	for range callers {
		if err := a.enter(0); err != nil {
			t.Fatal(err)
		}
	}
	waiting := make([]time.Duration, callers)
	for n := range 2 * int(admissionWindow/(100*time.Microsecond)) { // 10,000 a second
		now := time.Duration(n) * 100 * time.Microsecond
		a.leave(waiting[0], now, true)
		if a.enter(now) != nil {
			return
		}
		waiting = append(waiting[1:], now)
		if n%quickOne == 0 && a.enter(now) == nil {
			a.leave(now, now, true)
		}
	}
	t.Errorf("%d wait for 50 ms each, and more are let in", callers)
}

// A burst at an idle engine is let in, however large: it drains.
func TestAdmissionLetsBurstsIn(t *testing.T) {
	t.Parallel()
	var a admission
	for range 5_000 {
		if err := a.enter(time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// Nor is one refused for an overload that was over when its clients went away all at once.
func TestAdmissionForgetsAFlood(t *testing.T) {
	t.Parallel()
	s := &served{}
	const perAnswer = 200 * time.Microsecond
	s.run(t, 5*time.Second, perAnswer, perAnswer/8)
	for _, entered := range s.waiting {
		s.now += perAnswer
		s.a.leave(entered, s.now, true)
	}
	s.now += time.Minute
	for range 5_000 {
		if err := s.a.enter(s.now); err != nil {
			t.Fatal(err)
		}
	}
}

// A load that is hardly more than the engine does builds a queue slowly, which must not be taken for a slow engine.
func TestAdmissionIsNotLedAwayByASlowlyGrowingQueue(t *testing.T) {
	t.Parallel()
	const perAnswer = 200 * time.Microsecond
	for _, load := range []float64{1.005, 1.02, 1.1} {
		s := &served{}
		for range 4 {
			s.run(t, 20*time.Second, perAnswer, time.Duration(float64(perAnswer)/load))
		}
		if s.worst > 3*admissionTarget+soon(perAnswer) {
			t.Errorf("at %v times the capacity an answer took %s", load, s.worst)
		}
	}
}

// A disk that was slow for a while has made the bound large; the queue that this lets in must not keep it so.
func TestAdmissionForgetsASlowDisk(t *testing.T) {
	t.Parallel()
	const perAnswer = 200 * time.Microsecond
	s := &served{}
	s.run(t, 5*time.Second, perAnswer, perAnswer/3)
	s.a.base = 300 * time.Millisecond
	s.run(t, 30*time.Second, perAnswer, perAnswer/3)
	s.run(t, 30*time.Second, perAnswer, perAnswer/3)
	if s.worst > soon(perAnswer) {
		t.Errorf("long after the disk was slow an answer took %s", s.worst)
	}
}

// An engine that stands still for a moment while it is looked how quick it is does not pass for a slow one.
func TestAdmissionTakesNoPauseForASlowDisk(t *testing.T) {
	t.Parallel()
	const perAnswer = 200 * time.Microsecond
	s := &served{}
	s.run(t, time.Second, perAnswer, 2*perAnswer)
	for s.a.probing != 2 {
		s.run(t, admissionWindow/4, perAnswer, perAnswer/8)
	}
	s.run(t, 2*admissionWindow, 50*time.Millisecond, perAnswer/8)
	s.run(t, 2*admissionWindow, perAnswer, perAnswer/8)
	s.run(t, 5*time.Second, perAnswer, perAnswer/8)
	if s.a.base > admissionTarget/4 || s.worst > admissionTarget {
		t.Errorf("after a pause an answer of %s passes for a quick one, and one took %s", s.a.base, s.worst)
	}
}

// Clients that give up early, and commands that are refused at once, say nothing of how quick the engine is.
func TestAdmissionMeasuresAnswersOnly(t *testing.T) {
	t.Parallel()
	const perAnswer = 200 * time.Microsecond
	s := &served{}
	worst := time.Duration(0)
	for n := range 1000 {
		s.run(t, 10*time.Millisecond, perAnswer, perAnswer/3)
		if s.a.enter(s.now) == nil {
			s.a.leave(s.now-admissionTarget/4, s.now, false)
		}
		if n > 100 {
			worst = max(worst, s.worst)
		}
	}
	if worst > soon(perAnswer) {
		t.Errorf("while some give up an answer took %s", worst)
	}
}

// As many callers as are always let in, each of whom waits for its answer before it asks again, are refused never, however slow
// the engine is.
func TestAdmissionNeverRefusesAFewCallers(t *testing.T) {
	t.Parallel()
	const perAnswer = 2 * time.Millisecond
	var (
		a       admission
		waiting []time.Duration
		now     time.Duration
	)
	for range 30_000 { // a minute
		for len(waiting) < admissionLeast {
			if err := a.enter(now); err != nil {
				t.Fatalf("after %s: %v", now, err)
			}
			waiting = append(waiting, now)
		}
		now += perAnswer
		a.leave(waiting[0], now, true)
		waiting = waiting[1:]
	}
}
