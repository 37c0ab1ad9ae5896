package worker

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestPoolRunsEverythingAndKeepsFewGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pool
		var ran atomic.Int32
		const n = 4 * maxIdle
		gate := make(chan struct{})
		for range n {
			p.Go(func() {
				ran.Add(1)
				<-gate
			})
		}
		synctest.Wait()
		if ran.Load() != n {
			t.Errorf("%d of %d functions began while none had ended", ran.Load(), n)
		}
		close(gate)
		p.Wait()
		synctest.Wait()
		if len(p.idle) != maxIdle {
			t.Errorf("%d goroutines are kept; want %d", len(p.idle), maxIdle)
		}
		again := make(chan struct{})
		p.Go(func() { <-again }) // on one of those that are kept
		synctest.Wait()
		if len(p.idle) != maxIdle-1 {
			t.Errorf("%d goroutines wait while one has work", len(p.idle))
		}
		close(again)
		p.Wait()
		p.close()
	})
}

// Code of users may end its goroutine (t.FailNow does that); the pool goes on without it.
func TestPoolSurvivesGoexit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pool
		for range 10 {
			p.Go(runtime.Goexit)
			p.Wait()
		}
		synctest.Wait()
		if len(p.idle) != 0 {
			t.Errorf("%d ended goroutines are kept", len(p.idle))
		}
		done := false
		p.Go(func() { done = true })
		p.Wait()
		if !done {
			t.Error("a function was lost")
		}
		p.close()
	})
}

func TestThePoolsLineIsEmptiedWhileMoreCome(t *testing.T) {
	t.Parallel()
	var p pool
	left := 10_000
	var next func()
	next = func() {
		if left--; left > 0 {
			p.Go(next)
			p.Go(func() {})
		}
	}
	p.Go(next)
	p.Wait()
	p.close()
	p.mu.Lock() // the goroutines may be about to end still
	defer p.mu.Unlock()
	if left != 0 || cap(p.line) > 1000 {
		t.Errorf("%d functions are left, and there is room for %d", left, cap(p.line))
	}
}

// synctest reports a deadlock if the goroutine stays.
func TestAGoroutineEndsWithItsFunctionWhenThePoolIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(*testing.T) {
		var p pool
		gate := make(chan struct{})
		p.Go(func() { <-gate })
		p.close()
		close(gate)
		p.Wait()
	})
}
