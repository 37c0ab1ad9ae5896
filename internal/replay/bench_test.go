package replay_test

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

// BenchmarkGo is the whole life of a fiber: a goroutine and two hand-overs.
func BenchmarkGo(b *testing.B) { benchmarkGo(b, nil) }

// BenchmarkGoOnThreads is that with a goroutine that was there.
func BenchmarkGoOnThreads(b *testing.B) {
	threads := replay.NewThreads()
	defer threads.Close()
	benchmarkGo(b, threads)
}

func benchmarkGo(b *testing.B, threads *replay.Threads) {
	r := replay.New(replay.Options{Threads: threads, Main: func(r *replay.Run, _ events.Payload) events.Intent {
		for range b.N {
			r.Go(func() {})
		}
		return events.CompleteRun{}
	}})
	defer r.Close()
	b.ReportAllocs()
	if _, err := r.Activate(begin().activation()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReplay600 replays a history of 600 events: 120 calls, one after the other.
func BenchmarkReplay600(b *testing.B) {
	s := begin()
	for step := range events.Step(120) {
		s.progress(false, events.TaskScheduled{Step: step + 1, Name: "a"}).add(events.TaskCompleted{Step: step + 1, Attempt: 1})
	}
	code := func(r *replay.Run, _ events.Payload) events.Intent {
		for range 121 {
			_ = r.Await(r.Root(), call(r, "a"))
		}
		return events.CompleteRun{}
	}
	a := s.activation()
	b.ReportAllocs()
	for b.Loop() {
		r := newRun(code)
		if _, err := r.Activate(a); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

// BenchmarkEnter is what it costs to find out that a call comes from the right goroutine.
func BenchmarkEnter(b *testing.B) {
	r := newRun(func(r *replay.Run, _ events.Payload) events.Intent {
		done := r.Go(func() {})
		for range b.N {
			_ = r.Await(r.Root(), done)
		}
		return events.CompleteRun{}
	})
	defer r.Close()
	b.ReportAllocs()
	if _, err := r.Activate(begin().activation()); err != nil {
		b.Fatal(err)
	}
}
