package worker

import "sync"

// pool runs functions on goroutines that it keeps for later ones: their stacks have grown to what such functions need.
//
// It wakes goroutines one after the other: while one is about to begin, further functions wait in line, and that one wakes
// the next if there still are some. So each function begins soon, whatever those before it do, and many short ones that come
// together are run by few goroutines instead of waking one each.
type pool struct {
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	waking bool     // a goroutine is about to take a function
	line   []func() // functions that wait; the next one is at head
	head   int
	idle   []chan struct{} // of goroutines that wait for functions, the one that ran last behind
}

// maxIdle bounds the goroutines that are kept although there is nothing to do.
const maxIdle = 64

// Go runs f on a goroutine. F may end it by runtime.Goexit.
func (p *pool) Go(f func()) {
	p.running.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head > len(p.line)/2 {
		n := copy(p.line, p.line[p.head:])
		clear(p.line[n:])
		p.line, p.head = p.line[:n], 0
	}
	p.line = append(p.line, f)
	if !p.waking {
		p.wake()
	}
}

// wake lets a goroutine take functions. The caller holds the lock.
func (p *pool) wake() {
	p.waking = true
	last := len(p.idle) - 1
	if last < 0 {
		go p.work()
		return
	}
	next := p.idle[last]
	p.idle = p.idle[:last]
	next <- struct{}{}
}

// Wait waits until no function runs or waits.
func (p *pool) Wait() { p.running.Wait() }

// close ends the goroutines that wait, and those of running functions when nothing is left to run.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, next := range p.idle {
		close(next)
	}
	p.idle = nil
}

func (p *pool) work() {
	next := make(chan struct{}, 1)
	for ok := true; ok; _, ok = <-next {
		p.mu.Lock()
		p.waking = false
		for f := p.take(); f != nil; f = p.take() {
			p.mu.Unlock()
			p.run(f)
			p.mu.Lock()
		}
		keep := !p.closed && len(p.idle) < maxIdle
		if keep {
			p.idle = append(p.idle, next)
		}
		p.mu.Unlock()
		if !keep {
			return
		}
	}
}

// take returns the next function, and wakes another goroutine when there are more; nil when there is none. The caller holds
// the lock.
func (p *pool) take() func() {
	if p.head == len(p.line) {
		p.line, p.head = p.line[:0], 0
		return nil
	}
	f := p.line[p.head]
	p.line[p.head] = nil
	p.head++
	if p.head < len(p.line) && !p.waking {
		p.wake()
	}
	return f
}

func (p *pool) run(f func()) {
	defer p.running.Done()
	f()
}
