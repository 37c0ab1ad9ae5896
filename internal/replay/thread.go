package replay

import (
	"bytes"
	"runtime"
)

// Threads lends goroutines to the fibers of runs and keeps those that are free again: a fiber that gets one is started by a
// wake-up, and its stack has grown to what workflow code needs. Its methods may be called from any goroutine.
type Threads struct {
	idle chan idleThreads // has one value, which is the lock
	most int              // of them are kept
}

type idleThreads struct {
	closed  bool
	threads []*thread // the one that was used last is behind
}

// maxIdleThreads bounds the goroutines that are kept although no fiber has them, unless another bound is set.
const maxIdleThreads = 64

// NewThreads returns an empty pool. Close it when the runs that use it are closed.
func NewThreads() *Threads {
	t := &Threads{idle: make(chan idleThreads, 1), most: maxIdleThreads}
	t.idle <- idleThreads{}
	return t
}

// KeepIdle sets how many goroutines are kept although no fiber has them; without it these are 64. It is called before the
// threads are used, and returns them.
func (t *Threads) KeepIdle(most int) *Threads {
	t.most = most
	return t
}

// Close ends the goroutines that no fiber has; the others end with their fibers.
func (t *Threads) Close() {
	i := <-t.idle
	for _, free := range i.threads {
		close(free.turn)
	}
	t.idle <- idleThreads{closed: true}
}

// start runs a fiber on a goroutine that is free, or else on a new one.
func (t *Threads) start(f *fiber) {
	if t == nil {
		f.thread = &thread{turn: make(chan *fiber)}
		go f.thread.run(f)
		return
	}
	i := <-t.idle
	last := len(i.threads) - 1
	if last < 0 {
		t.idle <- i
		f.thread = &thread{turn: make(chan *fiber)}
		go f.thread.work(t, f)
		return
	}
	f.thread = i.threads[last]
	i.threads = i.threads[:last]
	t.idle <- i
	f.thread.turn <- f
}

// keep lets a goroutine wait for its next fiber, if there is room.
func (t *Threads) keep(free *thread) bool {
	i := <-t.idle
	room := !i.closed && len(i.threads) < t.most
	if room {
		i.threads = append(i.threads, free)
	}
	t.idle <- i
	return room
}

// thread is a goroutine for fibers, one after the other. It ends early with a fiber that ends by runtime.Goexit.
type thread struct {
	id string // of the goroutine, if a guarded run has asked
	// turn takes the fiber to run, or the one it has to let it run on, and gives it back when it waits or is over.
	turn chan *fiber
}

func (h *thread) work(t *Threads, f *fiber) {
	for ok := true; ok; f, ok = <-h.turn {
		h.run(f)
		if !t.keep(h) {
			return
		}
	}
}

func (h *thread) run(f *fiber) {
	if h.id == "" && !f.run.opts.Unguarded {
		h.id = goroutineID()
	}
	f.main(h.id)
}

// goroutineID returns the number of the calling goroutine as it is shown in stacks.
func goroutineID() string {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	id, _, _ := bytes.Cut(bytes.TrimPrefix(head, []byte("goroutine ")), []byte(" "))
	return string(id)
}
