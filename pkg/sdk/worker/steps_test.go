package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// The code of a step need not look at its context: what follows does not wait for it.
func TestAStepThatIgnoresThatItIsGivenUpHoldsUpNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		gate := make(chan struct{})
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 4}), stepped.With(func(ctx flow.Context, _ string) (string, error) {
			return flow.Step(ctx, "slow", func(context.Context) (string, error) {
				if tries.Add(1) == 1 {
					<-gate
				}
				return "done", nil
			})
		}))
		s := g.stream(0)
		h := started(t, 1, "test.Stepped", "x")
		s.activate(t, h.delivery("test.Stepped", 1, 1))
		s.activate(t, h.delivery("test.Stepped", 1, 2))
		results := s.heard().GetActivationResults()
		if len(results) != 1 || results[0].GetActivation().GetAttempt() != 2 {
			t.Fatalf("got %v, want the result of attempt 2", results)
		}
		s.give(t, ackActivations(activation(1, 1, 2)))
		if got := s.heard().GetActivationCredits(); got != 6 {
			t.Errorf("%d places granted while the first step still runs, want 6", got)
		}
		close(gate)
		synctest.Wait()
		if results := s.heard().GetActivationResults(); len(results) != 1 || s.heard().GetActivationCredits() != 6 {
			t.Errorf("got %v and %d places after the step came back, want nothing new", results, s.heard().GetActivationCredits())
		}
		s.activate(t, started(t, 2, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
		if results := s.heard().GetActivationResults(); len(results) != 2 || tries.Load() != 3 {
			t.Errorf("got %v after %d tries, want the result of another run", results, tries.Load())
		}
	})
}

// A step alone runs where its activation does, several run beside it: neither may take the worker with it.
func TestAStepThatEndsItsGoroutineFails(t *testing.T) {
	t.Parallel()
	for _, beside := range []int{0, 2} {
		t.Run(fmt.Sprintf("beside %d others", beside), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(quiet(worker.Options{Activations: 4}), stepped.With(func(ctx flow.Context, in string) (string, error) {
					step := func(ctx flow.Context, _ string) (string, error) {
						return flow.Step(ctx, "goexit", func(context.Context) (string, error) { runtime.Goexit(); return "", nil })
					}
					for range beside {
						flow.Go(ctx, step, in)
					}
					_, err := step(ctx, in)
					var failed *flow.TaskError
					if !errors.As(err, &failed) {
						return "", err
					}
					return failed.Code, nil
				}))
				s := g.stream(0)
				s.activate(t, started(t, 1, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
				p := s.progress(t, 0)
				var failure *events.Failure
				for _, i := range p.Intents {
					if step, ok := i.(events.RecordStep); ok && step.Failure != nil {
						failure = step.Failure
					}
				}
				if failure == nil || failure.Code != events.CodeTaskPanicked {
					t.Fatalf("the progress has %v, want the step failed with %s", p.Intents, events.CodeTaskPanicked)
				}
				s.give(t, ackActivations(activation(1, 1, 1)))
				s.activate(t, started(t, 2, "test.Stepped", "x").delivery("test.Stepped", 1, 1))
				s.progress(t, 1)
			})
		})
	}
}
