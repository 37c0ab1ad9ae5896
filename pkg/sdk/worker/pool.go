package worker

import "sync"

// pool runs functions on goroutines that it keeps for later ones: starting a function on one of them costs a wake-up, and
// its stack has grown to what such functions need.
type pool struct {
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	idle   []chan func() // of goroutines that wait for a function, the one that ran last behind
}

// maxIdle bounds the goroutines that are kept although there is nothing to do.
const maxIdle = 64

// Go runs f on a goroutine. F may end it by runtime.Goexit.
func (p *pool) Go(f func()) {
	p.running.Add(1)
	p.mu.Lock()
	last := len(p.idle) - 1
	if last < 0 {
		p.mu.Unlock()
		go p.work(f)
		return
	}
	next := p.idle[last]
	p.idle = p.idle[:last]
	p.mu.Unlock()
	next <- f
}

// Wait waits until no function runs.
func (p *pool) Wait() { p.running.Wait() }

// close ends the goroutines that wait, and those of running functions when they return.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, next := range p.idle {
		close(next)
	}
	p.idle = nil
}

func (p *pool) work(f func()) {
	next := make(chan func(), 1)
	for ok := true; ok; f, ok = <-next {
		p.run(f)
		if !p.keep(next) {
			return
		}
	}
}

func (p *pool) run(f func()) {
	defer p.running.Done()
	f()
}

// keep lets a goroutine wait for its next function, if there is room.
func (p *pool) keep(next chan func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == maxIdle {
		return false
	}
	p.idle = append(p.idle, next)
	return true
}
