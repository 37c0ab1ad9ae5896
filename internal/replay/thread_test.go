package replay_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

// activateOn lets a new run of code begin on threads.
func activateOn(t *testing.T, threads *replay.Threads, code func(r *replay.Run, input events.Payload) events.Intent) (*replay.Run, error) {
	t.Helper()
	r := replay.New(replay.Options{Main: code, Threads: threads})
	_, err := r.Activate(begin().activation())
	return r, err
}

// goroutine returns the first line of the calling goroutine's stack, which has its number.
func goroutine() string {
	var buf [64]byte
	line, _, _ := strings.Cut(string(buf[:runtime.Stack(buf[:], false)]), "[")
	return line
}

func TestFibersOfLaterRunsGetTheGoroutinesOfEarlierOnes(t *testing.T) {
	t.Parallel()
	threads := replay.NewThreads()
	defer threads.Close()
	ran := map[string]int{}
	const runs = 100
	for range runs {
		r, err := activateOn(t, threads, func(*replay.Run, events.Payload) events.Intent {
			ran[goroutine()]++
			return events.CompleteRun{}
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	// A thread is free a moment after its fiber is over, so the next run may come too early for it.
	if len(ran) == runs {
		t.Errorf("%d runs had %d goroutines", runs, len(ran))
	}
}

// What ends a goroutine in the middle must not end the next run's fiber, and nothing of one fiber is left for the next.
func TestThreadsSurviveWhatFibersDo(t *testing.T) {
	t.Parallel()
	threads := replay.NewThreads()
	defer threads.Close()
	waits := func(r *replay.Run, _ events.Payload) events.Intent {
		_ = r.Await(r.Root(), call(r, "a"))
		return events.CompleteRun{}
	}
	for range 20 {
		if _, err := activateOn(t, threads, func(*replay.Run, events.Payload) events.Intent { panic("poison") }); err == nil {
			t.Fatal("a panic was lost")
		}
		if _, err := activateOn(t, threads, func(*replay.Run, events.Payload) events.Intent {
			runtime.Goexit()
			return nil
		}); err == nil {
			t.Fatal("a Goexit was lost")
		}
		evicted, err := activateOn(t, threads, waits)
		if err != nil {
			t.Fatal(err)
		}
		evicted.Close()
		r, err := activateOn(t, threads, func(*replay.Run, events.Payload) events.Intent { return events.CompleteRun{} })
		if err != nil {
			t.Fatalf("after the others: %v", err)
		}
		r.Close()
	}
}

// goleak, at the end of all tests, finds the goroutine if the thread stays.
func TestAThreadEndsWithItsFiberWhenThePoolIsClosed(t *testing.T) {
	t.Parallel()
	threads := replay.NewThreads()
	r, err := activateOn(t, threads, func(r *replay.Run, _ events.Payload) events.Intent {
		_ = r.Await(r.Root(), call(r, "a"))
		return events.CompleteRun{}
	})
	if err != nil {
		t.Fatal(err)
	}
	threads.Close()
	r.Close()
}
