package worker_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

var work = flow.NewTask[string, string]("test.Work")

var errCut = status.Error(codes.Unavailable, "the line is cut")

func ackTasks(refs ...*apiv1.AttemptRef) *apiv1.WorkResponse {
	return &apiv1.WorkResponse{AcknowledgedTasks: refs}
}

func TestEveryPathOfATaskGivesItsPlaceBackOnce(t *testing.T) {
	t.Parallel()
	release := func() (func(context.Context, string) (string, error), chan struct{}) {
		gate := make(chan struct{})
		return func(ctx context.Context, in string) (string, error) {
			select {
			case <-gate:
				return in, nil
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}, gate
	}
	for _, path := range []struct {
		name string
		run  func(*testing.T, *stream, chan struct{})
	}{
		{"done and acknowledged", func(t *testing.T, s *stream, gate chan struct{}) {
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			close(gate)
			synctest.Wait()
			s.give(t, ackTasks(attempt(1, 1, 1)))
		}},
		{"acknowledged twice", func(t *testing.T, s *stream, gate chan struct{}) {
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			close(gate)
			synctest.Wait()
			s.give(t, ackTasks(attempt(1, 1, 1), attempt(1, 1, 1)))
			s.give(t, ackTasks(attempt(1, 1, 1)))
		}},
		{"cancelled", func(t *testing.T, s *stream, _ chan struct{}) {
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			s.give(t, &apiv1.WorkResponse{CancelledTasks: []*apiv1.AttemptRef{attempt(1, 1, 1)}})
		}},
		{"delivered twice while it runs", func(t *testing.T, s *stream, gate chan struct{}) {
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			close(gate)
			synctest.Wait()
			s.give(t, ackTasks(attempt(1, 1, 1)))
		}},
		{"delivered again when it is done", func(t *testing.T, s *stream, gate chan struct{}) {
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			close(gate)
			synctest.Wait()
			s.task(t, "test.Work", attempt(1, 1, 1), "x")
			s.give(t, ackTasks(attempt(1, 1, 1)))
		}},
		{"no code", func(t *testing.T, s *stream, _ chan struct{}) {
			s.task(t, "test.Other", attempt(1, 1, 1), "x")
			s.give(t, ackTasks(attempt(1, 1, 1)))
		}},
		{"cannot be read", func(t *testing.T, s *stream, _ chan struct{}) {
			s.task(t, "test.Work", &apiv1.AttemptRef{WorkflowId: "w", RunId: "no id", Step: 1, Attempt: 1}, "x")
		}},
		{"two of one batch", func(t *testing.T, s *stream, gate chan struct{}) {
			d := func(step uint64) *apiv1.TaskDelivery {
				return &apiv1.TaskDelivery{Task: attempt(1, step, 1), Name: "test.Work", Input: value(t, "x")}
			}
			s.give(t, &apiv1.WorkResponse{Tasks: []*apiv1.TaskDelivery{d(1), d(2)}})
			close(gate)
			synctest.Wait()
			s.give(t, ackTasks(attempt(1, 1, 1), attempt(1, 2, 1)))
		}},
	} {
		t.Run(path.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				code, gate := release()
				g := newGateway(t)
				g.run(quiet(worker.Options{Tasks: 4}), work.With(code))
				s := g.stream(0)
				if got := s.heard().GetTaskCredits(); got != 4 {
					t.Fatalf("%d places are granted at first, want 4", got)
				}
				path.run(t, s, gate)
				used, _ := s.delivered()
				if got := s.heard().GetTaskCredits() - used; got != 4 {
					t.Errorf("%d places are free in the end, want 4", got)
				}
			})
		})
	}
}

func TestResultsAreKeptUntilTheyAreAcknowledged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{Tasks: 4}), work.With(func(_ context.Context, in string) (string, error) { return in, nil }))
		first := g.stream(0)
		first.task(t, "test.Work", attempt(1, 1, 1), "x")
		if n := len(first.heard().GetTaskResults()); n != 1 {
			t.Fatalf("%d results, want 1", n)
		}
		first.cut(errCut)
		second := g.stream(1)
		if got := second.hello.GetRunningTasks(); len(got) != 1 || got[0].GetStep() != 1 {
			t.Errorf("the hello lists %v, want the attempt with the kept result", got)
		}
		if n := len(second.heard().GetTaskResults()); n != 1 {
			t.Errorf("%d results are said again, want 1", n)
		}
		if got := second.heard().GetTaskCredits(); got != 3 {
			t.Errorf("%d places are granted while a result is kept, want 3", got)
		}
		second.give(t, ackTasks(attempt(1, 1, 1)))
		if got := second.heard().GetTaskCredits(); got != 4 {
			t.Errorf("%d places after the acknowledgement, want 4", got)
		}
		second.cut(errCut)
		if third := g.stream(2); len(third.hello.GetRunningTasks()) != 0 || len(third.heard().GetTaskResults()) != 0 {
			t.Error("an acknowledged result was said again")
		}
	})
}

func TestPlacesAreRightWhenTasksEndWhileTheWorkerReconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Tasks: 4}), work.With(func(ctx context.Context, in string) (string, error) {
			select {
			case <-gate:
				return in, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}))
		first := g.stream(0)
		first.task(t, "test.Work", attempt(1, 1, 1), "x")
		first.task(t, "test.Work", attempt(1, 2, 1), "x")
		first.give(t, &apiv1.WorkResponse{CancelledTasks: []*apiv1.AttemptRef{attempt(1, 2, 1)}})
		g.set(func() { g.refuse = errCut })
		first.cut(errCut)
		time.Sleep(time.Second)
		close(gate)
		synctest.Wait()
		g.set(func() { g.refuse = nil })
		second := g.stream(1)
		if got := second.heard().GetTaskCredits(); got != 3 || len(second.hello.GetRunningTasks()) != 1 {
			t.Errorf("%d places granted with %d kept, want 3 with 1", got, len(second.hello.GetRunningTasks()))
		}
		second.give(t, ackTasks(attempt(1, 1, 1)))
		if got := second.heard().GetTaskCredits(); got != 4 {
			t.Errorf("%d places in the end, want 4", got)
		}
	})
}

func TestATaskThatEndsItsGoroutineFails(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]func(context.Context, string) (string, error){
		"goexit":         func(context.Context, string) (string, error) { runtime.Goexit(); return "", nil },
		"panic":          func(context.Context, string) (string, error) { panic("oh no") },
		"panic in Error": func(context.Context, string) (string, error) { return "", (*spoilt)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				r := g.run(quiet(worker.Options{Tasks: 2}), work.With(code))
				s := g.stream(0)
				s.task(t, "test.Work", attempt(1, 1, 1), "x")
				results := s.heard().GetTaskResults()
				if len(results) != 1 || results[0].GetFailure().GetCode() != events.CodeTaskPanicked {
					t.Fatalf("got %v, want a failure %s", results, events.CodeTaskPanicked)
				}
				s.give(t, ackTasks(attempt(1, 1, 1)))
				if got := s.heard().GetTaskCredits(); got != 3 {
					t.Errorf("%d places granted in all, want 3", got)
				}
				r.stop()
			})
		})
	}
}

type spoilt struct{ text string }

func (s *spoilt) Error() string { return s.text }

func TestAResultThatIsTooLargeFailsTheTaskAndNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		raw := flow.NewTask[int, events.Payload]("test.Raw")
		g.run(quiet(worker.Options{}), raw.With(func(_ context.Context, n int) (events.Payload, error) {
			return events.Payload{Encoding: "raw", Data: make([]byte, n)}, nil
		}))
		s := g.stream(0)
		s.task(t, "test.Raw", attempt(1, 1, 1), 5<<20)
		s.task(t, "test.Raw", attempt(1, 2, 1), 2<<20+1)
		s.task(t, "test.Raw", attempt(1, 3, 1), 2<<20)
		codes := map[uint64]string{}
		for _, r := range s.heard().GetTaskResults() {
			codes[r.GetTask().GetStep()] = r.GetFailure().GetCode()
		}
		want := map[uint64]string{1: events.CodePayloadTooLarge, 2: events.CodePayloadTooLarge, 3: ""}
		for step, code := range want {
			if got, ok := codes[step]; !ok || got != code {
				t.Errorf("step %d: %q (answered: %v), want %q", step, got, ok, code)
			}
		}
		if g.count() != 1 {
			t.Error("the stream broke")
		}
	})
}

// Results that fit one by one do not fit together.
func TestManyLargeResultsTravelInSeveralMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.set(func() { g.limit = 3 << 20 })
		raw := flow.NewTask[int, events.Payload]("test.Raw")
		g.run(quiet(worker.Options{}), raw.With(func(_ context.Context, n int) (events.Payload, error) {
			return events.Payload{Encoding: "raw", Data: make([]byte, n)}, nil
		}))
		first := g.stream(0)
		g.set(func() { g.refuse = errCut })
		for i := range 12 {
			// Kept results come in any order: among so many a large one follows a small one.
			d := &apiv1.TaskDelivery{Task: attempt(1, uint64(i)+1, 1), Name: "test.Raw", Input: value(t, 1<<20-1000+i%2*(2<<20))}
			first.give(t, &apiv1.WorkResponse{Tasks: []*apiv1.TaskDelivery{d}})
		}
		first.cut(errCut)
		time.Sleep(time.Second)
		g.set(func() { g.refuse = nil })
		second := g.stream(1)
		if n := len(second.heard().GetTaskResults()); n != 12 || g.count() != 2 {
			t.Errorf("%d of 12 results came in %d streams, want 2", n, g.count())
		}
	})
}

func TestTheLastDetailsOfABurstOfHeartbeatsAreSaid(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"fails", "goes on"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				defer close(gate)
				g := newGateway(t)
				g.run(quiet(worker.Options{}), work.With(func(ctx context.Context, _ string) (string, error) {
					for i := range 100 {
						if err := task.Heartbeat(ctx, i); err != nil {
							return "", err
						}
					}
					if end == "fails" {
						return "", errors.New("half way")
					}
					select {
					case <-gate:
					case <-ctx.Done():
					}
					return "", nil
				}))
				s := g.stream(0)
				s.task(t, "test.Work", attempt(1, 1, 1), "x")
				if end == "goes on" {
					time.Sleep(time.Second)
				}
				beats := s.heard().GetHeartbeats()
				if len(beats) == 0 || string(beats[len(beats)-1].GetDetails().GetData()) != "99" {
					t.Errorf("the last heartbeat is %v, want 99", beats)
				}
				if len(beats) > 3 {
					t.Errorf("%d heartbeats of a burst went out", len(beats))
				}
			})
		})
	}
}

func TestHeartbeatDetailsThatAreTooLargeAreRefusedHere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		g := newGateway(t)
		g.set(func() { g.limit = 1000 })
		g.run(quiet(worker.Options{}), work.With(func(ctx context.Context, _ string) (string, error) {
			told <- task.Heartbeat(ctx, strings.Repeat("x", 2000))
			return "", nil
		}))
		s := g.stream(0)
		s.task(t, "test.Work", attempt(1, 1, 1), "x")
		if err := <-told; !errors.Is(err, &events.Error{Code: events.PayloadTooLarge}) {
			t.Errorf("Heartbeat returned %v, want payload_too_large", err)
		}
		if n := len(s.heard().GetHeartbeats()); n != 0 {
			t.Errorf("%d heartbeats went out", n)
		}
	})
}

// What is said once does not pile up while nobody listens.
func TestHeartbeatsDoNotPileUpWhileTheServerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{}), work.With(func(ctx context.Context, _ string) (string, error) {
			for i := 0; ; i++ {
				_ = task.Heartbeat(ctx, i)
				select {
				case <-gate:
					return "", nil
				case <-ctx.Done():
					return "", nil
				case <-time.After(200 * time.Millisecond):
				}
			}
		}))
		first := g.stream(0)
		first.task(t, "test.Work", attempt(1, 1, 1), "x")
		g.set(func() { g.refuse = errCut })
		first.cut(errCut)
		time.Sleep(time.Minute)
		g.set(func() { g.refuse = nil })
		second := g.stream(1)
		if n := len(second.heard().GetHeartbeats()); n > 2 {
			t.Errorf("%d heartbeats of the outage were said", n)
		}
		time.Sleep(time.Second)
		if len(second.heard().GetHeartbeats()) == 0 {
			t.Error("no heartbeats after the outage")
		}
		close(gate)
		synctest.Wait()
	})
}

func TestASecondAttemptMayBeginWhileTheFirstEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Tasks: 2}), work.With(func(ctx context.Context, in string) (string, error) {
			if task.Info(ctx).Attempt == 1 {
				<-gate // ignores its context
			}
			return in, nil
		}))
		s := g.stream(0)
		s.task(t, "test.Work", attempt(1, 1, 1), "x")
		s.give(t, &apiv1.WorkResponse{CancelledTasks: []*apiv1.AttemptRef{attempt(1, 1, 1)}})
		s.task(t, "test.Work", attempt(1, 1, 2), "x")
		results := s.heard().GetTaskResults()
		if len(results) != 1 || results[0].GetTask().GetAttempt() != 2 {
			t.Errorf("got %v, want the result of attempt 2", results)
		}
		close(gate)
		synctest.Wait()
		s.give(t, ackTasks(attempt(1, 1, 2)))
		if got := s.heard(); len(got.GetTaskResults()) != 1 || got.GetTaskCredits() != 4 {
			t.Errorf("%d results and %d places granted, want 1 and 4", len(got.GetTaskResults()), got.GetTaskCredits())
		}
	})
}

func TestSignsOfLifeAreSentWhenThereIsNothingToSay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{}), work.With(func(_ context.Context, in string) (string, error) { return in, nil }))
		s := g.stream(0)
		before := s.messages()
		time.Sleep(g.keep + time.Millisecond)
		if n := s.messages() - before; n < 2 || n > 4 {
			t.Errorf("%d messages within a keepalive of %s, want 2 to 4", n, wire.Keepalive)
		}
	})
}
