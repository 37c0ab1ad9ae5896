package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// program is what one workflow does: random operations, a number of times, and an end.
type program struct {
	ops       []op
	continues int  // how often it begins again
	fails     bool // it ends with a failure
	collects  bool // all it does is to take signals until it is told to stop
}

// op is one operation. Inner operations run in a scope or a fiber of their own.
type op struct {
	kind  opKind
	n     int
	inner []op
}

type opKind string

// The operations. Features switch groups of them off.
const (
	opCall       opKind = "call"       // a task that ends well
	opFlaky      opKind = "flaky"      // a task that fails n times first
	opPermanent  opKind = "permanent"  // a task that fails for good
	opOnce       opKind = "once"       // a task that is not tried again
	opBeating    opKind = "beating"    // a task with heartbeats
	opBounded    opKind = "bounded"    // a task with schedule-to-start and schedule-to-close
	opStep       opKind = "step"       // a step in the worker
	opFlakyStep  opKind = "flakystep"  // a step that fails n times first
	opSteps      opKind = "steps"      // steps side by side
	opJoin       opKind = "join"       // tasks side by side
	opSleep      opKind = "sleep"      // a timer
	opRace       opKind = "race"       // a task against a timer
	opNext       opKind = "next"       // a signal
	opTry        opKind = "try"        // a signal, if there is one
	opSignalRace opKind = "signalrace" // a signal against a timer
	opView       opKind = "view"
	opRand       opKind = "rand"
	opGo         opKind = "go"      // a fiber
	opTimeout    opKind = "timeout" // a scope with a time limit
	opCancel     opKind = "cancel"  // a scope that is cancelled
	opShield     opKind = "shield"  // a scope that is not cancelled with the run
)

// features are what the programs of a seed may use, and what else is unusual about it.
type features uint32

const (
	withTasks features = 1 << iota
	withTrouble
	withSteps
	withTimers
	withSignals
	withScopes
	withCancels
	withContinue
	withTimeouts
	smallGateway
	smallScheduler
	longTimers
	fewNames // workflow ids collide
)

func (f features) has(g features) bool { return f&g != 0 }

var opsOf = []struct {
	feature features
	kinds   []opKind
}{
	{withTasks, []opKind{opCall, opJoin, opCall}},
	{withTrouble, []opKind{opFlaky, opPermanent, opOnce, opBeating, opBounded}},
	{withSteps, []opKind{opStep, opFlakyStep, opSteps, opView, opRand}},
	{withTimers, []opKind{opSleep, opRace}},
	{withSignals, []opKind{opNext, opTry, opSignalRace}},
	{withScopes, []opKind{opGo, opTimeout, opCancel, opShield}},
}

var scopes = opsOf[5].kinds

func (w *world) drawProgram() *program {
	f := w.tuning.features
	p := &program{}
	if f.has(withSignals) && w.rng.IntN(6) == 0 {
		p.collects = true
		return p
	}
	var kinds []opKind
	for _, group := range opsOf {
		if f.has(group.feature) {
			kinds = append(kinds, group.kinds...)
		}
	}
	if len(kinds) == 0 {
		kinds = opsOf[0].kinds
	}
	p.ops = w.drawOps(kinds, 3)
	if f.has(withContinue) && w.rng.IntN(3) == 0 {
		p.continues = 1 + w.rng.IntN(3)
	}
	p.fails = w.rng.IntN(8) == 0
	return p
}

func (w *world) drawOps(kinds []opKind, depth int) []op {
	ops := make([]op, 0, 1+w.rng.IntN(5))
	for range cap(ops) {
		o := op{kind: kinds[w.rng.IntN(len(kinds))], n: w.rng.IntN(3)}
		if slices.Contains(scopes, o.kind) {
			if depth == 0 {
				o.kind = opCall
			} else {
				o.inner = w.drawOps(kinds, depth-1)
			}
		}
		ops = append(ops, o)
	}
	return ops
}

// String writes the program down, for people.
func (p *program) String() string {
	if p.collects {
		return "collect"
	}
	text := opsText(p.ops)
	if p.continues > 0 {
		text += fmt.Sprintf(" ×%d", p.continues+1)
	}
	if p.fails {
		text += " fail"
	}
	return text
}

func opsText(ops []op) string {
	var parts []string
	for _, o := range ops {
		text := fmt.Sprint(o.kind, o.n)
		if o.inner != nil {
			text += "{" + opsText(o.inner) + "}"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// input is that of every workflow.
type input struct {
	Program    int      `json:"p"`
	Generation int      `json:"g,omitempty"`
	Seen       [][]seen `json:"s,omitempty"` // by generation
}

// seen is what an operation came to.
type seen struct {
	Op     opKind `json:"o"`
	Value  int64  `json:"v,omitempty"`
	Values string `json:"l,omitempty"`
	Err    string `json:"e,omitempty"`
	Inner  []seen `json:"i,omitempty"`
}

// call is the input of every task.
type call struct {
	Value     int64 `json:"v"`
	Failures  int   `json:"f,omitempty"`
	Permanent bool  `json:"p,omitempty"`
}

var (
	simFlow   = flow.NewWorkflow[input, [][]seen]("sim.Flow")
	simTask   = flow.NewTask[call, int64]("sim.Task")
	onceTask  = flow.NewTask[call, int64]("sim.Once", flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
	beatTask  = flow.NewTask[call, int64]("sim.Beating", flow.HeartbeatTimeout(6*time.Second), flow.Timeout(30*time.Second))
	boundTask = flow.NewTask[call, int64]("sim.Bounded", flow.ScheduleToStart(20*time.Second), flow.ScheduleToClose(90*time.Second), flow.Timeout(10*time.Second))
	signals   = [2]flow.Signal[int64]{flow.NewSignal[int64]("sim.A"), flow.NewSignal[int64]("sim.B")}
	simView   = flow.NewView[int]("sim.View")
)

// stopCollecting is the signal that ends a program that collects.
const stopCollecting = -1

// valueOf is what a task or step makes of its argument.
func valueOf(v int64) int64 { return v*31 + 7 }

func runCall(ctx context.Context, c call) (int64, error) {
	info := task.Info(ctx)
	if c.Permanent {
		return 0, task.Permanent(errors.New("for good"))
	}
	if int(info.Attempt) <= c.Failures {
		return 0, fmt.Errorf("attempt %d", info.Attempt)
	}
	return valueOf(c.Value), nil
}

func (w *world) newRegistry() *flow.Registry {
	r, err := flow.NewRegistry(simFlow.With(w.play), simTask.With(runCall), onceTask.With(runCall), beatTask.With(runCall), boundTask.With(runCall))
	if err != nil {
		panic(err)
	}
	return r
}

// runTask runs the code of an attempt.
func (w *world) runTask(d *taskDelivery) flow.TaskOutcome {
	ctx := task.NewContext(w.ctx, task.Execution{
		ID: d.ref.Task, Name: d.name, Attempt: d.ref.Attempt, WorkflowID: d.workflow, Details: d.details,
	}, payloads, func(events.Payload) error { return nil })
	return w.registry.RunTask(ctx, payloads, d.name, d.input)
}

// beatDetails are those of every heartbeat.
var beatDetails = events.Payload{Encoding: "json", Data: []byte("1")}

// player runs a program.
type player struct {
	futures []*flow.Future[int64]
}

// play is the code of every workflow.
func (w *world) play(ctx flow.Context, in input) ([][]seen, error) {
	p := w.programs[in.Program]
	if p.collects {
		all, err := collect(ctx)
		return [][]seen{all}, err
	}
	pl := &player{}
	all := pl.play(ctx, p.ops)
	for i := 0; i < len(pl.futures); i++ { // they grow meanwhile
		_, _ = pl.futures[i].Await(flow.WithoutCancel(ctx))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in.Seen = append(in.Seen, all)
	if in.Generation < p.continues {
		in.Generation++
		return simFlow.Continue(ctx, in)
	}
	if p.fails {
		return nil, flow.Fail("sim_failed", "as it should")
	}
	return in.Seen, nil
}

// collect takes signals until it is told to stop, of the second name only those that are there.
func collect(ctx flow.Context) ([]seen, error) {
	var all []seen
	for {
		v, err := signals[0].Next(ctx).Await(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, seen{Op: opNext, Value: v})
		for {
			v, ok, err := signals[1].TryNext(ctx)
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			all = append(all, seen{Op: opTry, Value: v})
		}
		if v == stopCollecting {
			return all, nil
		}
	}
}

func (p *player) play(ctx flow.Context, ops []op) []seen {
	all := make([]seen, 0, len(ops))
	for i, o := range ops {
		all = append(all, p.op(ctx, int64(i), o))
		if ctx.Err() != nil {
			return append(all, seen{Op: "stop", Err: errText(ctx.Err())})
		}
	}
	return all
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	if failed, ok := errors.AsType[*flow.TaskError](err); ok {
		return "task " + failed.Code
	}
	switch {
	case errors.Is(err, flow.ErrCancelled):
		return "cancelled"
	case errors.Is(err, flow.ErrTimeout):
		return "timeout"
	default:
		return err.Error()
	}
}

func (o op) duration() time.Duration { return time.Duration(o.n) * 1700 * time.Millisecond }

func (p *player) op(ctx flow.Context, i int64, o op) seen {
	s := seen{Op: o.kind}
	var err error
	switch o.kind {
	case opCall:
		s.Value, err = simTask.Call(ctx, call{Value: i})
	case opFlaky:
		s.Value, err = simTask.Call(ctx, call{Value: i, Failures: o.n})
	case opPermanent:
		s.Value, err = simTask.Call(ctx, call{Value: i, Permanent: true})
	case opOnce:
		s.Value, err = onceTask.Call(ctx, call{Value: i, Failures: o.n / 2})
	case opBeating:
		s.Value, err = beatTask.Call(ctx, call{Value: i})
	case opBounded:
		s.Value, err = boundTask.Call(ctx, call{Value: i, Failures: o.n / 2})
	case opStep:
		s.Value, err = flow.Step(ctx, "step", func(context.Context) (int64, error) { return valueOf(i), nil })
	case opFlakyStep:
		s.Value, err = flow.Step(ctx, "flaky", func(ctx context.Context) (int64, error) {
			return runCall(ctx, call{Value: i, Failures: 2 * o.n})
		}, flow.Retry(flow.RetryPolicy{Initial: 2 * time.Second}))
	case opSteps, opJoin:
		s.Value, err = p.together(ctx, o)
	case opSleep:
		before := flow.Now(ctx)
		err = flow.Sleep(ctx, o.duration())
		if err == nil && flow.Now(ctx).Sub(before) < o.duration() {
			s.Value = -1
		}
	case opRace:
		work, late := flow.Go(ctx, simTask.Call, call{Value: i}), flow.After(ctx, o.duration())
		p.futures = append(p.futures, work)
		if flow.First(ctx, work, late) == work {
			s.Value = 1
		}
	case opNext:
		s.Value, err = signals[o.n%2].Next(ctx).Await(ctx)
	case opTry:
		var ok bool
		s.Value, ok, err = signals[o.n%2].TryNext(ctx)
		if !ok {
			s.Values = "none"
		}
	case opSignalRace:
		signal, late := signals[o.n%2].Next(ctx), flow.After(ctx, o.duration())
		if flow.First(ctx, signal, late) == signal {
			s.Value, err = signal.Await(ctx)
		} else {
			s.Values = "late"
		}
	case opView:
		simView.Set(ctx, len(p.futures))
	case opRand:
		_, _ = flow.Rand(ctx).IntN(1000), flow.NewID(ctx)
	default:
		return p.scope(ctx, o)
	}
	s.Err = errText(err)
	return s
}

// together does n+1 things side by side and adds what they come to.
func (p *player) together(ctx flow.Context, o op) (sum int64, err error) {
	var all []*flow.Future[int64]
	for k := range int64(o.n + 1) {
		if o.kind == opJoin {
			all = append(all, flow.Go(ctx, simTask.Call, call{Value: k}))
			continue
		}
		all = append(all, flow.Go(ctx, func(ctx flow.Context, k int64) (int64, error) {
			return flow.Step(ctx, fmt.Sprint("step", k), func(context.Context) (int64, error) { return valueOf(k), nil })
		}, k))
	}
	p.futures = append(p.futures, all...)
	values, err := flow.All(ctx, all...)
	for _, v := range values {
		sum += v
	}
	return sum, err
}

func (p *player) scope(ctx flow.Context, o op) seen {
	s := seen{Op: o.kind}
	switch o.kind {
	case opGo:
		p.futures = append(p.futures, flow.Go(ctx, func(ctx flow.Context, n int) (int64, error) {
			p.play(ctx, o.inner)
			return int64(n), nil
		}, o.n))
	case opTimeout:
		ctx, cancel := flow.WithTimeout(ctx, o.duration())
		defer cancel()
		s.Inner = p.play(ctx, o.inner)
	case opCancel:
		inner, cancel := flow.WithTimeout(ctx, time.Hour)
		f := flow.Go(inner, func(ctx flow.Context, n int) (int64, error) {
			s.Inner = p.play(ctx, o.inner)
			return int64(n), nil
		}, o.n)
		p.futures = append(p.futures, f)
		_ = flow.Sleep(ctx, o.duration())
		cancel()
		_, err := f.Await(flow.WithoutCancel(ctx))
		s.Err = errText(err)
	case opShield:
		s.Inner = p.play(flow.WithoutCancel(ctx), o.inner)
	default:
		panic("sim: " + string(o.kind) + " is no operation")
	}
	return s
}
