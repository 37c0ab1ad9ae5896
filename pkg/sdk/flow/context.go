package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Context is the first argument of workflow code and of everything that workflow code may call. It is not a
// context.Context on purpose: what does I/O does not take it, because workflow code does no I/O.
//
// A Context belongs to one run and is used by its code only, on goroutines that were started with [Go]. It carries a scope:
// the run's own, or one made by [WithTimeout] or [WithoutCancel].
type Context struct {
	run     *runtime
	scope   *replay.Scope
	capture *captured
}

// runtime is what a run's code shares.
type runtime struct {
	*replay.Run
	ref      RunRef
	workflow events.WorkflowType
	payloads payload.Converter
	next     *slog.Logger // of the driver; nil when it has none
	asked    sync.Once    // for the logger
	logger   *slog.Logger
}

// live returns the run, and panics with a clear message for a Context that nobody made.
func (ctx Context) live() *runtime {
	if ctx.run == nil {
		panic("flow: the zero flow.Context was used; take the one that your workflow function is given")
	}
	return ctx.run
}

// Err returns why the context is cancelled: [ErrCancelled] or [ErrTimeout], and nil while it is not.
func (ctx Context) Err() error {
	ctx.live()
	return ctx.scope.Err()
}

// Self tells which run the code belongs to.
func Self(ctx Context) RunRef { return ctx.live().ref }

// Now returns the time that the code is shown: that of the events it was given last. It stands still while the code runs,
// and is the same in replay.
func Now(ctx Context) time.Time { return ctx.live().Now().Std() }

// Rand returns a source of random numbers which are the same in replay. Each call returns another source.
func Rand(ctx Context) *rand.Rand {
	seed := ctx.live().unique("rand")
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:16])))
}

// NewID returns a new id in the form of a UUID (version 8), the same in replay.
func NewID(ctx Context) string {
	b := ctx.live().unique("id")
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// unique returns bytes that depend on the run, what they are for and how often the code has asked.
func (r *runtime) unique(what string) [32]byte {
	var b [32]byte
	copy(b[:16], r.ref.RunID[:])
	binary.BigEndian.PutUint64(b[16:], uint64(r.Generation()))
	binary.BigEndian.PutUint64(b[24:], r.Unique())
	return sha256.Sum256(append(b[:], what...))
}

// Log returns a logger for the workflow's code. It is silent while the code is replayed, so that each line is written
// once, or rarely twice.
func Log(ctx Context) *slog.Logger { return ctx.live().log() }

// WithTimeout returns a context that is cancelled with [ErrTimeout] after d, and a function that cancels it at once. Open
// calls and timers of the context are given up then. Call the function when the work is done, so that the timer is
// disarmed: defer cancel().
func WithTimeout(ctx Context, d time.Duration) (timed Context, cancel func()) {
	r := ctx.live()
	scope, cancel := r.WithTimeout(ctx.scope, d)
	return Context{run: r, scope: scope}, cancel
}

// WithoutCancel returns a context that is not cancelled when ctx is: for cleaning up and compensating.
func WithoutCancel(ctx Context) Context {
	r := ctx.live()
	return Context{run: r, scope: r.Shield()}
}
