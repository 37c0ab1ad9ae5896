package replay

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
)

// fiber is a thread of workflow code: a goroutine that runs only while who resumed it waits for it.
type fiber struct {
	run    *Run
	body   func()  // nil for the first fiber
	done   *Future // ended when the body returns; nil for the first fiber
	thread *thread // that it runs on; nil before it has begun

	// What the fiber waits for, while it does.
	waiting bool
	futures []*Future
	all     bool
	passed  int        // with all: so many of futures, from the first on, have ended
	one     [1]*Future // room for futures, of a fiber that waits for one
	scope   *Scope

	// Where it made its last call.
	pcs   [24]uintptr
	depth int

	claims []*Future // signals it asked for and has not taken
}

func (r *Run) newFiber(body func()) *fiber {
	f := &fiber{run: r, body: body}
	r.fibers = append(r.fibers, f)
	return f
}

// drain lets fibers run, one after the other, until all wait.
func (r *Run) drain() {
	for len(r.queue) > 0 && r.err == nil && !r.ended && !r.paged {
		f := r.queue[0]
		if r.queue = r.queue[1:]; len(r.queue) == 0 {
			r.queue = r.room[:0]
		}
		r.resume(f)
	}
}

// resume hands over to a fiber and returns when it waits or is over. The driver calls it, and a fiber that begins another.
func (r *Run) resume(f *fiber) {
	caller := r.current
	r.current = f
	if f.thread != nil {
		f.thread.turn <- f
	} else {
		r.opts.Threads.start(f)
	}
	<-f.thread.turn
	r.current = caller
}

// park hands back to who resumed the fiber, until it is resumed again. In a closed run it unwinds the fiber: deferred code
// runs.
func (f *fiber) park() {
	f.thread.turn <- f
	<-f.thread.turn
	if f.run.dead {
		runtime.Goexit()
	}
}

// main runs a fiber on the goroutine of the given number. Its frame marks the goroutine as one that has a fiber.
//
//go:noinline
func (f *fiber) main(goroutine string) {
	returned := false
	f.run.register(f, goroutine)
	defer func() { f.over(returned, recover()) }()
	if f.body != nil {
		f.body()
	} else {
		f.run.main(f)
	}
	returned = true
}

// over is the end of a fiber: by return, panic or unwinding.
func (f *fiber) over(returned bool, panicked any) {
	r := f.run
	switch {
	case r.dead || r.err != nil:
	case panicked != nil:
		r.err = &Panic{Value: fmt.Sprint(panicked), Lines: callerLines(), Stack: string(debug.Stack())}
	case !returned:
		r.err = &Panic{Value: "runtime.Goexit was called (t.FailNow does that)"}
	default:
		for _, c := range slices.Clone(f.claims) {
			if len(c.waiters) == 0 {
				r.unclaim(c)
			}
		}
		if f.done != nil {
			r.end(f.done)
		}
	}
	r.forget(f)
	f.thread.turn <- f
}

// forget drops a fiber that is over.
func (r *Run) forget(f *fiber) {
	if i := slices.Index(r.fibers, f); i >= 0 {
		r.fibers = slices.Delete(r.fibers, i, i+1)
	}
	if r.opts.Unguarded {
		return
	}
	r.lock <- struct{}{}
	r.known = slices.DeleteFunc(r.known, func(t threadOf) bool { return t.fiber == f })
	<-r.lock
}

// abort ends the activation with an error and unwinds the calling fiber.
func (r *Run) abort(err error) {
	if r.err == nil {
		r.err = err
	}
	r.dead = true
	runtime.Goexit()
}

// Refuse ends the activation because the code cannot go on: err is for whoever wrote it. It does not return when it is
// called by workflow code; elsewhere it does nothing.
func (r *Run) Refuse(err error) {
	if _, entered := r.enter("Refuse"); entered == nil {
		r.abort(err)
	}
}

// Go runs body on a new fiber until it first waits, then returns a future that ends when body does.
func (r *Run) Go(body func()) *Future {
	f, err := r.enter("Go")
	if err != nil {
		return r.Failed(err)
	}
	child := r.newFiber(body)
	child.done = &Future{run: r, kind: kindFiber}
	r.resume(child)
	if r.err != nil || r.paged { // nobody runs on now; on the next page this fiber comes right after the child
		r.queue = slices.Insert(r.queue, slices.Index(r.queue, child)+1, f)
		f.park()
	}
	return child.done
}
