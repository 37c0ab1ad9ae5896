package gateway

import (
	"fmt"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Parameters of the admission of clients' commands.
const (
	// admissionTarget is how long answers may take on average until the engine counts as overloaded, or admissionSlack times what one
	// takes when nobody else waits, if that is more.
	admissionTarget = 20 * time.Millisecond
	admissionSlack  = 4
	// admissionWindow is the time over which answers are measured.
	admissionWindow = 100 * time.Millisecond
	// admissionLeast is how many commands are always let in at a time, however slow the engine is: as many callers as one program may
	// well have, each of whom waits for its answer before it asks again, are no overload.
	admissionLeast = 256
	// In a flood, when more than a part in floodPart of what is answered is refused, so many are let in at a time as the engine answers
	// in floodTarget, or in twice the time that it takes with little to do, and at least floodLeast: those who ask do not wait for
	// their answers, and the fewer are in each other's way the quicker all are, and the work that was let in before. With half of
	// floodLeast the engine has nothing to do now and then; with half as many again runs are begun quicker than they end.
	floodPart   = 3
	floodTarget = admissionTarget / 8
	floodLeast  = 16
	// admissionProbe is how old the measure of an answer with little to do may be while commands are refused: then only admissionAlone
	// are let in until no more wait, and for probeWindows windows, to see how quick an answer is.
	admissionProbe = 10 * time.Second
	admissionAlone = 8
	probeWindows   = 4
)

// admission bounds the commands of clients that wait for the engine by what the engine gets done, so that what is let in is
// answered soon and the rest is refused at once, instead of all waiting longer and longer.
//
// When the answers of a window took longer than the target on average, as many commands are let in at a time as the engine has
// answered per target, and far fewer in a flood. As long as the bound is nearly reached it follows what is answered per
// target, growing slowly; it goes when for a window no more than half of it was used.
//
// An engine on a slow disk takes long for every answer and many at a time, which is no overload: so the target follows the answers of
// an engine that has little to do. While there is a bound that is not to be seen, and is looked for now and then.
//
// Commands of workers are never refused: they are work that was let in before. Nor is the question whether a run is there, on
// which those depend who wait for results.
type admission struct {
	mu       sync.Mutex
	inFlight int
	bound    int           // 0 means none
	base     time.Duration // the quickest answer with little to do
	known    time.Duration // when the base was measured last
	probing  int           // the stage of a probe: 1 until those before it are answered, then one for each window that is measured
	probed   time.Duration // the quickest answer of the probe
	before   int           // the bound before the probe
	asked    time.Duration // when somebody asked last
	// Of the present window:
	began    time.Duration
	answered int
	refused  int
	most     int           // in flight
	took     time.Duration // all answers together
	quickest time.Duration
}

// enter lets a command in, or refuses it with the time after which to try again.
func (a *admission) enter(now time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ask(now)
	if a.bound > 0 && a.inFlight >= a.bound {
		a.refused++
		return a.refusal()
	}
	a.inFlight++
	a.most = max(a.most, a.inFlight)
	return nil
}

// full refuses what enter would refuse, for those who have work to do before they enter.
func (a *admission) full(now time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ask(now)
	if a.bound > 0 && a.inFlight >= a.bound {
		a.refused++
		return a.refusal()
	}
	return nil
}

// ask notes that somebody asks. When nobody has for a while, and none waits, an overload is over.
func (a *admission) ask(now time.Duration) {
	if a.inFlight == 0 && now-a.asked >= 2*admissionWindow {
		a.bound, a.probing = 0, 0
		a.begin(now)
	}
	a.asked = now
	a.roll(now)
}

func (a *admission) refusal() error {
	// Somebody's turn comes within the target; whose is left to chance, so the refused spread over some of them.
	retry := 4 * admissionTarget
	return &events.Error{Code: events.Overloaded, RetryAfterMs: retry.Milliseconds(), Message: fmt.Sprintf(
		"%d commands wait for the engine, and it is behind; nothing was kept", a.inFlight)}
}

// leave notes that a command that was let in is answered by the engine, or is over without an answer.
func (a *admission) leave(entered, now time.Duration, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight--
	took := now - entered
	if answered || took > a.target() { // what was given up before says nothing
		if a.answered == 0 || took < a.quickest {
			a.quickest = took
		}
		a.answered++
		a.took += took
	}
	a.roll(now)
}

// roll ends the window when its time is over.
func (a *admission) roll(now time.Duration) {
	length := now - a.began
	if length < admissionWindow {
		return
	}
	switch {
	case a.probing > 0:
		a.probe(now)
	case a.answered == 0: // nothing is known; a bound that holds goes on
	case a.bound > 0 && floodPart*a.refused > a.answered:
		a.bound = max(a.per(max(floodTarget, 2*a.base), length), floodLeast)
	case a.took > time.Duration(a.answered)*a.target():
		a.bound = max(a.per(a.target(), length), admissionLeast)
	case a.bound > 0 && (a.refused > 0 || 2*a.most > a.bound): // to where a usual answer takes the target, but up slowly
		a.bound = min(max(a.per(a.target(), length), admissionLeast), a.bound+a.bound/8+1)
	default:
		a.bound = 0
		a.learn(now)
	}
	if a.refused > 0 && a.bound > 0 && a.probing == 0 && now-a.known >= admissionProbe {
		a.probing, a.before, a.bound = 1, a.bound, admissionAlone
	}
	a.begin(now)
}

// begin begins a window.
func (a *admission) begin(now time.Duration) {
	a.began, a.answered, a.refused, a.took, a.quickest, a.most = now, 0, 0, 0, 0, a.inFlight
}

// per is how many commands are answered in a time, as fast as in the window.
func (a *admission) per(target, window time.Duration) int {
	return int(float64(a.answered) * float64(target) / float64(window))
}

func (a *admission) target() time.Duration { return max(admissionTarget, admissionSlack*a.base) }

// learn lets the base follow the quickest answer of a window without a bound: down at once, up slowly, and only while there is
// little to do. A queue would raise the base, and with it the queue that is taken for good.
func (a *admission) learn(now time.Duration) {
	switch {
	case a.base == 0 || a.quickest < a.base:
		a.base, a.known = a.quickest, now
	case a.most <= admissionAlone:
		a.base, a.known = a.base+(a.quickest-a.base)/32, now
	}
}

// probe ends a window of a probe. The quickest answer of several counts: in one, all may have waited for something that passes.
func (a *admission) probe(now time.Duration) {
	switch {
	case a.probing == 1:
		if a.inFlight <= admissionAlone {
			a.probing = 2
		}
		return
	case a.answered == 0:
		return // it takes longer than a window
	case a.probing == 2 || a.quickest < a.probed:
		a.probed = a.quickest
	}
	if a.probing++; a.probing < 2+probeWindows {
		return
	}
	before := a.target()
	a.base, a.known = a.probed, now
	a.probing, a.bound = 0, max(int(float64(a.before)*float64(a.target())/float64(before)), min(a.before, admissionLeast))
}
