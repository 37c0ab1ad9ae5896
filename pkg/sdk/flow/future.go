package flow

import (
	"errors"
	"reflect"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Awaitable is what [First] chooses from: any [Future].
type Awaitable interface{ awaitable() *replay.Future }

// Future is the outcome of something that was begun: a call, a timer, the next signal, a function started with [Go].
type Future[T any] struct {
	run   *runtime
	core  *replay.Future
	name  string // of what a failure is of
	lacks lack
	value T
	err   error
}

// lack is what an ended future has still to get from its core.
type lack uint8

const (
	lacksNothing lack = iota
	lacksError
	lacksOutcome // value and error
)

func (f *Future[T]) awaitable() *replay.Future { return f.core }

// Await waits until the future has ended and returns its outcome. When ctx is cancelled before that, the error is
// [ErrCancelled] or [ErrTimeout] and the future may still be awaited with another context.
func (f *Future[T]) Await(ctx Context) (T, error) {
	var zero T
	if err := ctx.live().Await(ctx.scope, f.core); err != nil {
		return zero, err
	}
	return f.outcome()
}

// outcome returns how the ended future ended.
func (f *Future[T]) outcome() (T, error) {
	switch f.lacks {
	case lacksNothing:
	case lacksError:
		_, _, f.err = f.core.Outcome()
	case lacksOutcome:
		f.value, f.err = settled[T](f.run, f.core, f.name)
	}
	f.lacks = lacksNothing
	return f.value, f.err
}

// Ready reports whether Await would return at once.
func (f *Future[T]) Ready(ctx Context) bool {
	ctx.live()
	return f.core.Ready()
}

// decoded returns a future whose value is the decoded payload of core, which has the given name.
func decoded[T any](r *runtime, core *replay.Future, name string) *Future[T] {
	return &Future[T]{run: r, core: core, name: name, lacks: lacksOutcome}
}

// settled returns how core has ended.
func settled[T any](r *runtime, core *replay.Future, name string) (T, error) {
	result, failure, err := core.Outcome()
	if failure != nil {
		err = r.taskError(name, core, failure)
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return valueOf[T](r.payloads, result)
}

// valueOf decodes a payload.
func valueOf[T any](c payload.Converter, p events.Payload) (value T, err error) {
	err = c.Decode(p, &value)
	return value, err
}

// awaited waits for a task or step that was begun just now with the same context.
func awaited[T any](ctx Context, core *replay.Future, name string) (T, error) {
	r := ctx.live()
	if err := r.AwaitNew(ctx.scope, core); err != nil {
		var zero T
		return zero, err
	}
	return settled[T](r, core, name)
}

// Go runs f(ctx, in) beside the code that calls it and returns its outcome as a future. F begins at once and runs until it
// first waits; then Go returns. Anything of the shape fits: the Call of a task, a method, a function of your own.
//
// When the workflow's own function returns, what still runs is given up.
func Go[In, Out any](ctx Context, f func(Context, In) (Out, error), in In) *Future[Out] {
	r := ctx.live()
	if isCall(f) {
		c := &captured{}
		_, err := f(Context{run: r, scope: ctx.scope, capture: c}, in)
		if future, ok := c.future.(*Future[Out]); ok && errors.Is(err, errCaptured) {
			return future
		}
	}
	future := &Future[Out]{run: r}
	future.core = r.Go(func() { future.value, future.err = f(ctx, in) })
	if _, _, err := future.core.Outcome(); err != nil {
		future.err = err
	}
	return future
}

// captured takes the future of a call that need not be waited for on a fiber of its own.
type captured struct{ future any }

var errCaptured = errors.New("flow: captured")

// calls remembers which functions are the Call of a task, by their address.
var calls sync.Map

// isCall reports whether f is the method value of a task's Call: such a call needs no fiber, and a hundred of them that are
// waited for together cost one activation.
func isCall(f any) bool {
	pc := reflect.ValueOf(f).Pointer()
	if known, ok := calls.Load(pc); ok {
		return known.(bool)
	}
	name := goruntime.FuncForPC(pc).Name()
	is := strings.HasPrefix(name, flowPath+".Task[") && strings.HasSuffix(name, ".Call-fm")
	calls.Store(pc, is)
	return is
}

var flowPath = reflect.TypeFor[Context]().PkgPath()

// First waits until one of the futures has ended and returns it. When several have, the one that ended first counts, in the
// order of the run's history; at the same moment the earlier argument. A signal that is returned counts as read.
//
// First returns nil when ctx was cancelled and none has ended; every further call with ctx fails then, too.
//
//	switch late := flow.After(ctx, time.Minute); flow.First(ctx, fast, slow, late) {
//	case fast:
//		return fast.Await(ctx)
//	case slow:
//		return slow.Await(ctx)
//	default:
//		return none, errors.New("too late")
//	}
func First(ctx Context, futures ...Awaitable) Awaitable {
	r := ctx.live()
	cores := make([]*replay.Future, len(futures))
	for i, f := range futures {
		cores[i] = f.awaitable()
	}
	i, err := r.First(ctx.scope, cores...)
	if err != nil {
		return nil
	}
	return futures[i]
}

// All waits until every future has ended and returns their values in the order of the arguments, and the first error in
// that order. However many calls are waited for, the run is activated once.
func All[T any](ctx Context, futures ...*Future[T]) ([]T, error) {
	r := ctx.live()
	cores := make([]*replay.Future, len(futures))
	for i, f := range futures {
		cores[i] = f.core
	}
	if err := r.All(ctx.scope, cores...); err != nil {
		return nil, err
	}
	values, first := make([]T, len(futures)), error(nil)
	for i, f := range futures {
		var err error
		if values[i], err = f.outcome(); err != nil && first == nil {
			first = err
		}
	}
	return values, first
}

// At returns a future that ends at the given time, at once when that is past. Its value is the time it was given.
func At(ctx Context, t time.Time) *Future[time.Time] {
	return &Future[time.Time]{run: ctx.live(), core: timer(ctx, t), lacks: lacksError, value: t}
}

func timer(ctx Context, t time.Time) *replay.Future {
	return ctx.live().Timer(ctx.scope, max(events.TimeOf(t), 1))
}

// After returns a future that ends after d.
func After(ctx Context, d time.Duration) *Future[time.Time] { return At(ctx, Now(ctx).Add(d)) }

// Sleep waits for d. The error says that ctx was cancelled before.
func Sleep(ctx Context, d time.Duration) error {
	core := timer(ctx, Now(ctx).Add(d))
	if err := ctx.live().Await(ctx.scope, core); err != nil {
		return err
	}
	_, _, err := core.Outcome()
	return err
}
