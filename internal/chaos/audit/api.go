package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/chaos/program"
	"github.com/continuo-dev/continuo/pkg/events"
)

// APICounts are the figures of [API]. A history is all operations on one workflow id.
type APICounts struct {
	Histories, Ops, Illegal, Unknown int
}

// API searches, for the mailbox of each workflow id that is not in the plans, an order of its operations that explains every
// answer: each took effect at one moment between its call and its return, and one whose outcome is not known at any moment
// after its call or never. What histories tell of those with an unknown outcome is taken from them. Limit bounds the time of
// all together; what is not decided by then counts as unknown.
func API(e Evidence, limit time.Duration) (APICounts, []Violation) {
	histories := map[string][]porcupine.Operation{}
	counts := APICounts{}
	happened := witnesses(e.Runs)
	for _, op := range e.Ops {
		if _, planned := e.Plans[op.Workflow]; planned {
			continue
		}
		returns := op.Return
		if op.Code == ledger.Unknown {
			var fits bool
			if op, fits = happened.witnessed(op); !fits {
				continue
			}
			returns = ledger.Never
		}
		counts.Ops++
		histories[op.Workflow] = append(histories[op.Workflow], porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: returns})
	}
	counts.Histories = len(histories)
	var found []Violation
	model := mailboxModel()
	undecided := slices.Sorted(maps.Keys(histories))
	for _, share := range []int{10, 1} { // the hard ones get the time that the others leave
		var hard []string
		for i, workflow := range undecided {
			began := porcupineClock()
			left := (len(undecided) - i) * share
			switch porcupine.CheckOperationsTimeout(model, histories[workflow], max(limit/time.Duration(left), time.Millisecond)) {
			case porcupine.Illegal:
				counts.Illegal++
				found = append(found, Violation{RuleAPI, workflow, describe(histories[workflow])})
			case porcupine.Unknown:
				hard = append(hard, workflow)
			case porcupine.Ok:
			}
			limit -= porcupineClock().Sub(began)
		}
		undecided = hard
	}
	counts.Unknown = len(undecided)
	return counts, found
}

// witness knows from histories which requests took effect: by workflow id and request, the run.
type witness map[[2]string]string

func witnesses(runs map[string][]*Run) witness {
	w := witness{}
	for workflow, all := range runs {
		for _, run := range all {
			w[[2]string{workflow, run.ID}] = run.ID
			for _, s := range run.Signals {
				w[[2]string{workflow, s.Request}] = run.ID
			}
		}
	}
	return w
}

// witnessed returns an operation with an unknown outcome as the histories know it; false means that it did not happen. A
// cancel or terminate stays unknown, as an event does not say who asked for it.
func (w witness) witnessed(op ledger.Op) (ledger.Op, bool) {
	key := [2]string{op.Workflow, op.Request}
	switch op.Verb {
	case ledger.Status, ledger.Result:
		return op, false
	case ledger.Cancel, ledger.Terminate:
		return op, true
	case ledger.Start:
		key[1] = events.RunIDFor(events.DefaultNamespace, events.WorkflowID(op.Workflow), events.RequestID(op.Request)).String()
	case ledger.Signal, ledger.Extra:
	}
	run, happened := w[key]
	op.Code, op.Run = ledger.OK, run
	return op, happened
}

// describe lists operations in the order of their calls.
func describe(history []porcupine.Operation) string {
	var b strings.Builder
	slices.SortFunc(history, func(x, y porcupine.Operation) int { return int(min(max(x.Call-y.Call, -1), 1)) })
	for _, one := range history {
		op := one.Input.(ledger.Op)
		until := "…"
		if one.Return != ledger.Never {
			until = nanoseconds(op.Return - history[0].Call).String()
		}
		fmt.Fprintf(&b, "\n    %v to %s client %d: %s %s %s → %s %s %s %v",
			nanoseconds(op.Call-history[0].Call), until, op.Client, op.Verb, op.Request, op.Value, op.Code, op.Run, op.State, op.Items)
	}
	return b.String()
}

// The phases of the newest run of a workflow id. A run that was told to end, or to cancel, ends at a moment that is seen
// only later: it is ending until then.
const (
	phaseNone = iota
	phaseOpen
	phaseEnding
	phaseEnded
)

// mailboxState is what a workflow id looks like from outside.
type mailboxState struct {
	phase   int
	newest  string // its newest run
	started string // the runs that were started, each with a space
	items   string // what the newest run received, each with a space
	// cancelled and told say that the newest run was asked to cancel, or told to end by an item.
	cancelled, told bool
	how             string // the state it ended in, once that is seen
}

func mailboxModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return mailboxState{} },
		Step: func(state, input, _ any) (bool, any) {
			op, s := input.(ledger.Op), state.(mailboxState)
			if op.Code == ledger.Unknown {
				return true, s.maybe(op)
			}
			next, fits := s.step(op)
			return fits, next
		},
	}
}

// maybe applies a cancel or terminate whose outcome is not known if it is possible now. That it never happens is its coming
// last.
func (s mailboxState) maybe(op ledger.Op) mailboxState {
	op.Code, op.Run = ledger.OK, s.newest
	if next, fits := s.step(op); fits {
		return next
	}
	return s
}

func (s mailboxState) open() bool { return s.phase == phaseOpen || s.phase == phaseEnding }

// gone is the state after an answer that the run has ended.
func (s mailboxState) gone() (mailboxState, bool) {
	fits := s.phase == phaseEnding || s.phase == phaseEnded
	if fits {
		s.phase = phaseEnded
	}
	return s, fits
}

// step applies an operation with a known outcome.
func (s mailboxState) step(op ledger.Op) (mailboxState, bool) {
	switch events.Code(op.Code) {
	case events.NotFound:
		return s, s.phase == phaseNone
	case events.RunEnded:
		if op.Run != "" && op.Run != s.newest {
			return s, false
		}
		return s.gone()
	case events.RunCompleting:
		return s, s.phase == phaseEnding
	case events.AlreadyOpen:
		return s, s.open() && (op.Run == "" || op.Run == s.newest)
	case events.OK:
		return s.ok(op)
	default:
		return s, false
	}
}

func (s mailboxState) ok(op ledger.Op) (mailboxState, bool) {
	switch op.Verb {
	case ledger.Start:
		if strings.Contains(s.started, op.Run+" ") {
			return s, true
		}
		return mailboxState{phase: phaseOpen, newest: op.Run, started: s.started + op.Run + " "}, s.phase != phaseOpen
	case ledger.Status:
		return s.seen(op)
	case ledger.Signal, ledger.Extra, ledger.Cancel, ledger.Terminate, ledger.Result:
	}
	if !s.open() || op.Run != s.newest {
		return s, false
	}
	switch op.Verb {
	case ledger.Cancel:
		s.phase, s.cancelled = phaseEnding, true
	case ledger.Terminate:
		s.phase, s.how = phaseEnded, events.StatusTerminated.String()
	case ledger.Signal, ledger.Extra:
		s.items += op.Value + " "
		if op.Value == program.EndItem {
			s.phase, s.told = phaseEnding, true
		}
	case ledger.Start, ledger.Status, ledger.Result:
	}
	return s, true
}

// seen compares what a client saw.
func (s mailboxState) seen(op ledger.Op) (mailboxState, bool) {
	if op.Run != s.newest {
		return s, false
	}
	if op.State == events.StatusRunning.String() {
		return s, s.open()
	}
	s, fits := s.gone()
	switch op.State {
	case events.StatusCompleted.String():
		fits = fits && s.told
	case events.StatusCancelled.String():
		fits = fits && s.cancelled
	case events.StatusTerminated.String():
		return s, fits && s.how == op.State
	default:
		return s, false
	}
	fits = fits && (s.how == "" || s.how == op.State)
	s.how = op.State
	return s, fits && strings.Join(append(slices.Clone(op.Items), ""), " ") == s.items
}

// porcupineClock times the search, which takes the time it is given.
func porcupineClock() time.Time {
	return time.Now() //nolint:forbidigo // the time of a search is no part of what is searched
}
