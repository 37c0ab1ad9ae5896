package replay

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"strings"
)

// maxLines bounds the source lines in an error.
const maxLines = 12

// enter begins a call of workflow code: it returns the calling fiber, or why the call must have no effect.
func (r *Run) enter(what string) (*fiber, error) {
	if r.opts.Unguarded {
		switch f := r.current; {
		case r.dead:
			return nil, ErrDead
		case f == nil:
			return nil, misuse(what, "with the context of another run")
		default:
			return f, nil
		}
	}
	var pcs [64]uintptr
	n := runtime.Callers(2, pcs[:])
	if n < len(pcs) && !onFiber(pcs[:n]) {
		return nil, r.report(misuse(what, "on a goroutine that is not the workflow's: workflow code starts goroutines with flow.Go, "+
			"and steps and tasks do not use the workflow's context"))
	}
	f := r.current
	switch {
	case r.dead:
		return nil, ErrDead
	case f == nil:
		return nil, misuse(what, "with the context of another run")
	case panicking(pcs[:n]):
		return nil, r.report(misuse(what, "by a deferred function while the code panics: a panic is a bug, and its run waits for "+
			"better code; recover, and call after the deferring function has returned"))
	}
	f.depth = copy(f.pcs[:], pcs[:n])
	return f, nil
}

// report makes the activation fail for a misuse, whatever the code does about it.
func (r *Run) report(m *Misuse) *Misuse {
	r.lock <- struct{}{}
	if r.misuse == nil {
		r.misuse = m
	}
	<-r.lock
	return m
}

// gopanic is where the runtime's function begins that runs deferred functions in a panic.
var gopanic = func() (entry uintptr) {
	defer func() {
		_ = recover()
		var pcs [8]uintptr
		for _, pc := range pcs[:runtime.Callers(1, pcs[:])] {
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Name() == "runtime.gopanic" {
				entry = f.Entry()
			}
		}
	}()
	panic("to see its frame")
}()

// gopanicBytes bounds the size of that function's code; a match within is looked up.
const gopanicBytes = 4 << 10

// panicking reports whether a deferred function of a panic is on the stack.
func panicking(pcs []uintptr) bool {
	for _, pc := range pcs {
		if pc-gopanic < gopanicBytes {
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Entry() == gopanic {
				return true
			}
		}
	}
	return false
}

func misuse(what, how string) *Misuse {
	return &Misuse{Reason: "flow." + what + " was called " + how, Lines: callerLines()}
}

// fiberMain is where the function begins that runs a fiber.
var fiberMain = reflect.ValueOf((*fiber).main).Pointer()

// onFiber reports whether a whole stack begins with a fiber: below it are the thread's frames and the runtime's.
func onFiber(pcs []uintptr) bool {
	for i := len(pcs) - 1; i >= 0 && i >= len(pcs)-4; i-- {
		if f := runtime.FuncForPC(pcs[i] - 1); f != nil && f.Entry() == fiberMain {
			return true
		}
	}
	return false
}

// lines returns the source lines of the fiber's last call.
func (f *fiber) lines() []string { return userLines(f.pcs[:f.depth]) }

// callerLines returns the source lines of the running code; while a panic is handled, those of the panic.
func callerLines() []string {
	var pcs [64]uintptr
	return userLines(pcs[:runtime.Callers(1, pcs[:])])
}

// ours are the packages whose frames are not the user's.
var ours = []string{
	"runtime.", "reflect.", "github.com/continuo-dev/continuo/internal/replay.", "github.com/continuo-dev/continuo/pkg/sdk/flow.",
}

// userLines returns the frames of user code, innermost first.
func userLines(pcs []uintptr) []string {
	var lines []string
	frames := runtime.CallersFrames(pcs)
	for {
		frame, more := frames.Next()
		if frame.Function != "" && !isOurs(frame.Function) && len(lines) < maxLines {
			lines = append(lines, fmt.Sprintf("%s:%d (%s)", frame.File, frame.Line, frame.Function))
		}
		if !more {
			return lines
		}
	}
}

func isOurs(function string) bool {
	for _, prefix := range ours {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

// threadOf is the goroutine, by its number, that a fiber runs on.
type threadOf struct {
	fiber     *fiber
	goroutine string
}

// register notes the goroutine of a fiber, for Blocked.
func (r *Run) register(f *fiber, goroutine string) {
	if r.opts.Unguarded {
		return
	}
	r.lock <- struct{}{}
	r.known = append(r.known, threadOf{f, goroutine})
	<-r.lock
}

// Blocked returns the stack of the fiber that runs at this moment, or "" when none does: the answer to "where is it?" when
// Activate or StepsDone does not return. It may be called from any goroutine at any time. It stops the program for a
// moment to look at all goroutines.
func (r *Run) Blocked() string {
	r.lock <- struct{}{}
	known := make(map[string]bool, len(r.known))
	for _, t := range r.known {
		known[t.goroutine] = true
	}
	<-r.lock
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 16<<20 {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for block := range bytes.SplitSeq(buf, []byte("\n\n")) {
		id, _, _ := bytes.Cut(bytes.TrimPrefix(block, []byte("goroutine ")), []byte(" "))
		waits := bytes.Contains(block, []byte("internal/replay.(*fiber).park(")) || bytes.Contains(block, []byte("internal/replay.(*Run).resume("))
		if known[string(id)] && !waits {
			return string(block)
		}
	}
	return ""
}
