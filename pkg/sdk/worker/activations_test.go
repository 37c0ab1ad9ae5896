package worker_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

var (
	twice   = flow.NewWorkflow[string, string]("test.Twice")
	stepped = flow.NewWorkflow[string, string]("test.Stepped")
)

// callTwice calls a task two times; begun counts how often its code is begun, which replay does and going on does not.
func callTwice(begun *atomic.Int32) func(flow.Context, string) (string, error) {
	return func(ctx flow.Context, in string) (string, error) {
		begun.Add(1)
		a, err := work.Call(ctx, in)
		if err != nil {
			return "", err
		}
		return work.Call(ctx, a)
	}
}

func ackActivations(refs ...*apiv1.ActivationRef) *apiv1.WorkResponse {
	return &apiv1.WorkResponse{AcknowledgedActivations: refs}
}

func completed(t *testing.T, step uint64, v any) events.TaskCompleted {
	t.Helper()
	p := value(t, v)
	return events.TaskCompleted{Step: events.Step(step), Attempt: 1, Result: events.Payload{Encoding: p.GetEncoding(), Data: p.GetData()}}
}

// firstCall is the history of a run whose first call is done, after the worker's own first progress.
func firstCall(t *testing.T, s *stream) *history {
	t.Helper()
	h := started(t, 1, "test.Twice", "x")
	s.activate(t, h.delivery("test.Twice", 1, 1))
	p := s.progress(t, 0)
	if len(p.Intents) != 1 {
		t.Fatalf("the first progress has %d intents, want the call", len(p.Intents))
	}
	s.give(t, ackActivations(activation(1, 1, 1)))
	return h.add(events.ActivationScheduled{Activation: 1, Attempt: 1, ReplayFrom: 1, Upto: 1}, accept(p),
		events.TaskScheduled{Step: 1, Name: "test.Work"}, completed(t, 1, "y"))
}

func TestALiveRunGoesOnWithoutReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), twice.With(callTwice(&begun)))
		s := g.stream(0)
		h := firstCall(t, s)
		if !s.heard().GetActivationResults()[0].GetLive() {
			t.Error("the run is not live after its first activation")
		}
		s.activate(t, h.delta("test.Twice", 2, 3, 1))
		if s.progress(t, 1); begun.Load() != 1 {
			t.Errorf("the code was begun %d times, want 1", begun.Load())
		}
		s.give(t, ackActivations(activation(1, 2, 1)))
		if got := s.heard().GetActivationCredits(); got != 6 {
			t.Errorf("%d places granted in all, want 6", got)
		}
	})
}

// A live run whose own progress was refused, or that another worker has taken on, cannot go on: its code is elsewhere.
func TestALiveRunWhoseProgressWasNotAcceptedIsReplayed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*events.ProgressMade){
		"of another worker":     func(p *events.ProgressMade) { p.Worker = "another" },
		"of another attempt":    func(p *events.ProgressMade) { p.Attempt = 2 },
		"of another activation": func(p *events.ProgressMade) { p.Activation = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var begun atomic.Int32
				g := newGateway(t)
				g.run(quiet(worker.Options{Activations: 4}), twice.With(callTwice(&begun)))
				s := g.stream(0)
				h := firstCall(t, s)
				made, ok := h.events[2].(events.ProgressMade)
				if !ok {
					t.Fatalf("event 3 is %T", h.events[2])
				}
				change(&made)
				h.events[2] = made
				s.activate(t, h.delta("test.Twice", 2, 3, 1))
				asked := s.heard().GetReplayRequests()
				if len(asked) != 1 || asked[0].GetFromEvent() != 1 {
					t.Fatalf("asked for %v, want the history from event 1", asked)
				}
				s.give(t, &apiv1.WorkResponse{ReplayChunks: []*apiv1.ReplayChunk{
					{Activation: activation(1, 2, 1), History: h.frame(1, 3), NextEvent: 4},
				}})
				if asked = s.heard().GetReplayRequests(); len(asked) != 2 || asked[1].GetFromEvent() != 4 {
					t.Fatalf("asked for %v, want the rest from event 4", asked)
				}
				s.give(t, &apiv1.WorkResponse{ReplayChunks: []*apiv1.ReplayChunk{
					{Activation: activation(1, 2, 1), History: h.frame(4, h.last())},
				}})
				if p := s.progress(t, 1); begun.Load() != 2 || len(p.Intents) != 1 {
					t.Errorf("begun %d times with %d intents, want 2 with 1", begun.Load(), len(p.Intents))
				}
			})
		})
	}
}

func TestARequestForHistoryDiesWithItsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), twice.With(callTwice(&begun)))
		first := g.stream(0)
		h := started(t, 1, "test.Twice", "x")
		waiting := h.delivery("test.Twice", 1, 1)
		waiting.History, waiting.NextEvent = nil, 1
		first.activate(t, waiting)
		if len(first.heard().GetReplayRequests()) != 1 {
			t.Fatal("the history was not asked for")
		}
		first.cut(errCut)
		second := g.stream(1)
		if n := len(second.hello.GetRunningActivations()); n != 0 {
			t.Errorf("%d activations are said to run that can get no history", n)
		}
		if got := second.heard().GetActivationCredits(); got != 4 {
			t.Errorf("%d places are granted, want 4", got)
		}
		second.activate(t, h.delivery("test.Twice", 1, 1)) // given back, given out again
		second.progress(t, 0)
		second.give(t, ackActivations(activation(1, 1, 1)))
		if got := second.heard().GetActivationCredits(); got != 5 {
			t.Errorf("%d places are granted in all, want 5", got)
		}
	})
}

func TestAnActivationSaysThatItLivesWhileItWaitsForHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{}), twice.With(callTwice(new(atomic.Int32))))
		s := g.stream(0)
		d := started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1)
		d.History, d.NextEvent = nil, 1
		s.activate(t, d)
		time.Sleep(9 * time.Second)
		if n := len(s.heard().GetActivationHeartbeats()); n < 2 {
			t.Errorf("%d heartbeats in 9 of 10 s, want 2", n)
		}
	})
}

func TestAHistoryThatDoesNotEndFailsTheActivation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{}), twice.With(callTwice(new(atomic.Int32))))
		s := g.stream(0)
		d := started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1)
		d.History, d.NextEvent = nil, 1
		s.activate(t, d)
		s.give(t, &apiv1.WorkResponse{ReplayChunks: []*apiv1.ReplayChunk{{Activation: activation(1, 1, 1), NextEvent: 1}}})
		if r := s.heard().GetActivationResults(); len(r) != 1 || r[0].GetFailure() == nil {
			t.Errorf("got %v, want a failure", r)
		}
	})
}

// The deadline of an attempt has passed and the next one comes to the same worker while the first still runs.
func TestANewerAttemptReplacesTheOneThatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		stopped := make(chan error, 1)
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), stepped.With(func(ctx flow.Context, _ string) (string, error) {
			return flow.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				if tries.Add(1) == 1 {
					<-ctx.Done()
					stopped <- context.Cause(ctx)
					return "", ctx.Err()
				}
				return "done", nil
			})
		}))
		s := g.stream(0)
		h := started(t, 1, "test.Stepped", "x")
		s.activate(t, h.delivery("test.Stepped", 1, 1))
		s.activate(t, h.delivery("test.Stepped", 1, 2))
		if err := <-stopped; err == nil {
			t.Error("the step of the first attempt was not stopped")
		}
		results := s.heard().GetActivationResults()
		if len(results) != 1 || results[0].GetActivation().GetAttempt() != 2 {
			t.Fatalf("got %v, want the result of attempt 2 alone", results)
		}
		s.give(t, ackActivations(activation(1, 1, 2)))
		if got := s.heard().GetActivationCredits(); got != 6 {
			t.Errorf("%d places granted in all, want 6", got)
		}
	})
}

// A repeated delivery joins the activation that runs, or gets its kept result: the code does nothing twice.
func TestARepeatedActivationRunsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun, tries atomic.Int32
		free := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), stepped.With(func(ctx flow.Context, _ string) (string, error) {
			begun.Add(1)
			return flow.Step(ctx, "slow", func(context.Context) (string, error) {
				tries.Add(1)
				<-free
				return "done", nil
			})
		}))
		s := g.stream(0)
		d := started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1)
		s.activate(t, d)
		s.activate(t, d)
		close(free)
		synctest.Wait()
		s.activate(t, d)
		synctest.Wait()
		if begun.Load() != 1 || tries.Load() != 1 {
			t.Errorf("the code was begun %d times and its step %d times, want 1", begun.Load(), tries.Load())
		}
		if results := s.heard().GetActivationResults(); len(results) != 2 || results[0].GetProgress() == nil {
			t.Errorf("got %v, want the progress, twice", results)
		}
	})
}

func TestEveryPathOfAnActivationGivesItsPlaceBackOnce(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(*testing.T, *stream){
		"acknowledged": func(t *testing.T, s *stream) {
			s.activate(t, started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1))
			s.give(t, ackActivations(activation(1, 1, 1), activation(1, 1, 1)))
		},
		"delivered again when it is done": func(t *testing.T, s *stream) {
			d := started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1)
			s.activate(t, d)
			s.activate(t, d)
			s.give(t, ackActivations(activation(1, 1, 1)))
		},
		"delivered twice in one message": func(t *testing.T, s *stream) {
			d := started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1)
			s.give(t, &apiv1.WorkResponse{Activations: []*apiv1.ActivationDelivery{d, d}})
			s.give(t, ackActivations(activation(1, 1, 1)))
		},
		"its history cannot be had": func(t *testing.T, s *stream) {
			d := started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1)
			d.History, d.NextEvent = nil, 1
			s.activate(t, d)
			s.give(t, &apiv1.WorkResponse{ReplayChunks: []*apiv1.ReplayChunk{{Activation: activation(1, 1, 1), Error: "it is over"}}})
		},
		"the code fails": func(t *testing.T, s *stream) {
			s.activate(t, started(t, 1, "test.Twice", 17).delivery("test.Unknown", 1, 1))
			s.give(t, ackActivations(activation(1, 1, 1)))
		},
		"the run is dropped": func(t *testing.T, s *stream) {
			s.activate(t, started(t, 1, "test.Twice", "x").delivery("test.Twice", 1, 1))
			s.give(t, &apiv1.WorkResponse{DropRunIds: []string{runID(1).String()}})
			s.give(t, ackActivations(activation(1, 1, 1)))
		},
		"more runs than memory": func(t *testing.T, s *stream) {
			for n := byte(1); n <= 9; n++ {
				s.activate(t, started(t, n, "test.Twice", "x").delivery("test.Twice", 1, 1))
				s.give(t, ackActivations(activation(n, 1, 1)))
			}
			if evicted := s.heard().GetEvictedRunIds(); len(evicted) != 7 || evicted[0] != runID(1).String() {
				t.Errorf("evicted %v, want the 7 oldest of 9 with room for 2", evicted)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(quiet(worker.Options{Activations: 3, LiveRuns: 2}), twice.With(callTwice(new(atomic.Int32))))
				s := g.stream(0)
				path(t, s)
				_, used := s.delivered()
				if got := s.heard().GetActivationCredits() - used; got != 3 {
					t.Errorf("%d places are free in the end, want 3", got)
				}
			})
		})
	}
}

func TestBadWorkflowCodeIsToldAndHarmsNothingElse(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	for name, test := range map[string]struct {
		code func(flow.Context, string) (string, error)
		want string
	}{
		"panic":  {func(flow.Context, string) (string, error) { panic("oh no") }, events.CodeWorkflowPanicked},
		"goexit": {func(flow.Context, string) (string, error) { runtime.Goexit(); return "", nil }, events.CodeWorkflowPanicked},
		"step that ends its goroutine": {func(ctx flow.Context, _ string) (string, error) {
			return flow.Step(ctx, "bad", func(context.Context) (string, error) { runtime.Goexit(); return "", nil }, flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
		}, ""},
		"step with a spoilt error": {func(ctx flow.Context, _ string) (string, error) {
			return flow.Step(ctx, "bad", func(context.Context) (string, error) { return "", (*spoilt)(nil) }, flow.Retry(flow.RetryPolicy{MaxAttempts: 1}))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(quiet(worker.Options{Activations: 2}), stepped.With(test.code), twice.With(callTwice(new(atomic.Int32))))
				s := g.stream(0)
				s.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
				r := s.heard().GetActivationResults()
				if len(r) != 1 || r[0].GetFailure().GetCode() != test.want || r[0].GetLive() && test.want != "" {
					t.Fatalf("got %v, want %q", r, test.want)
				}
				if test.want == "" {
					if step, ok := s.progress(t, 0).Intents[0].(events.RecordStep); !ok || step.Failure.Code != events.CodeTaskPanicked {
						t.Errorf("reported %v, want a failed step", s.progress(t, 0).Intents)
					}
				}
				s.activate(t, started(t, 2, "test.Twice", "x").delivery("test.Twice", 1, 1))
				s.progress(t, 1)
			})
		})
	}
}

func TestBlockedWorkflowCodeIsGivenUpWithItsStack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 2}), stepped.With(func(flow.Context, string) (string, error) {
			<-never
			return "", nil
		}), twice.With(callTwice(new(atomic.Int32))))
		s := g.stream(0)
		s.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
		s.activate(t, started(t, 2, "test.Twice", "x").delivery("test.Twice", 1, 1))
		s.progress(t, 0) // the others go on meanwhile
		time.Sleep(6 * time.Second)
		r := s.heard().GetActivationResults()
		if len(r) != 2 || r[1].GetFailure().GetCode() != events.CodeWorkflowBlocked ||
			!strings.Contains(r[1].GetFailure().GetMessage(), "activations_test.go") {
			t.Errorf("got %v, want workflow_blocked with the line", r)
		}
		close(never)
	})
}

// Deferred code of an evicted run is the user's, and may take as long as it likes.
func TestSlowDeferredCodeHoldsUpNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 2}), stepped.With(func(ctx flow.Context, in string) (string, error) {
			defer func() { <-gate }()
			return work.Call(ctx, in)
		}), work.With(func(_ context.Context, in string) (string, error) { return in, nil }))
		s := g.stream(0)
		s.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
		s.give(t, &apiv1.WorkResponse{
			AcknowledgedActivations: []*apiv1.ActivationRef{activation(1, 1, 1)}, DropRunIds: []string{runID(1).String()},
		})
		s.task(t, "test.Work", attempt(2, 1, 1), "x")
		if len(s.heard().GetTaskResults()) != 1 {
			t.Error("the stream is not read while deferred code runs")
		}
		close(gate)
	})
}

func TestProgressThatIsTooLargeFailsTheActivationAndNotTheStream(t *testing.T) {
	t.Parallel()
	raw := flow.NewTask[events.Payload, string]("test.RawIn")
	big := func(n int) events.Payload { return events.Payload{Encoding: "raw", Data: make([]byte, n)} }
	for name, test := range map[string]struct {
		code func(flow.Context, string) (string, error)
		want string
	}{
		"one payload": {func(ctx flow.Context, _ string) (string, error) { return raw.Call(ctx, big(3<<20)) }, events.CodePayloadTooLarge},
		"all together": {func(ctx flow.Context, _ string) (string, error) {
			a, b, c := flow.Go(ctx, raw.Call, big(2<<20)), flow.Go(ctx, raw.Call, big(2<<20)), flow.Go(ctx, raw.Call, big(2<<20))
			_, err := flow.All(ctx, a, b, c)
			return "", err
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(quiet(worker.Options{}), stepped.With(test.code))
				s := g.stream(0)
				s.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
				r := s.heard().GetActivationResults()
				if len(r) != 1 || r[0].GetFailure().GetCode() != test.want {
					t.Errorf("got %d results, failure %v, want %q", len(r), r[0].GetFailure(), test.want)
				}
				if g.count() != 1 {
					t.Error("the stream broke")
				}
			})
		})
	}
}

func TestAStepGoesOnOverAReconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), stepped.With(func(ctx flow.Context, _ string) (string, error) {
			return flow.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				tries.Add(1)
				select {
				case <-gate:
					return "done", nil
				case <-ctx.Done():
					return "", errors.New("stopped")
				}
			})
		}))
		first := g.stream(0)
		first.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
		first.cut(errCut)
		second := g.stream(1)
		if n := len(second.hello.GetRunningActivations()); n != 1 {
			t.Fatalf("%d activations are said to run, want 1", n)
		}
		time.Sleep(20 * time.Second)
		if n := len(second.heard().GetActivationHeartbeats()); n < 4 {
			t.Errorf("%d heartbeats in 20 s, want at least 4", n)
		}
		close(gate)
		if second.progress(t, 0); tries.Load() != 1 {
			t.Errorf("the step was tried %d times, want 1", tries.Load())
		}
		if got := second.heard().GetActivationCredits(); got != 3 {
			t.Errorf("%d places granted while one is used, want 3", got)
		}
	})
}
