package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

// While the server has many places left, those that are free again cost no message of their own.
func TestPlacesAreGrantedAlongWithResults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{Activations: 40, Tasks: -1}), twice.With(callTwice(new(atomic.Int32))))
		s := g.stream(0)
		begin := func(n byte) { s.activate(t, started(t, n, "test.Twice", "x").delivery("test.Twice", 1, 1)) }
		begin(1)
		had := s.messages()
		s.give(t, ackActivations(activation(1, 1, 1)))
		if n := s.messages(); n != had {
			t.Errorf("%d messages say that one of 40 places is free again", n-had)
		}
		begin(2)
		if n, places := s.messages(), s.heard().GetActivationCredits(); n != had+1 || places != 41 {
			t.Errorf("%d messages and %d places in all after the next result, want 1 and 41", n-had, places)
		}
		s.give(t, ackActivations(activation(2, 1, 1)))
		time.Sleep(10 * time.Second)
		if places := s.heard().GetActivationCredits(); places != 42 {
			t.Errorf("%d places in all after a sign of life, want 42", places)
		}
		for n := range byte(25) {
			begin(10 + n)
		}
		if had := s.heard().GetActivationCredits(); had != 42 {
			t.Errorf("%d places in all while 25 results are not acknowledged, want 42", had)
		}
		s.give(t, ackActivations(activation(10, 1, 1)))
		if places := s.heard().GetActivationCredits(); places != 43 {
			t.Errorf("%d places in all while the server has few left, want 43 at once", places)
		}
	})
}

// What was to be granted along with something else is granted when the server has used up what it knew of.
func TestPlacesDoNotWaitWhileTheServerHasNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{Tasks: 40, Activations: -1}), work.With(func(ctx context.Context, in string) (string, error) {
			if in == "long" {
				<-ctx.Done()
			}
			return in, nil
		}))
		s := g.stream(0)
		var short []*apiv1.AttemptRef
		for n := range byte(20) {
			ref := attempt(1+n, 1, 1)
			s.task(t, "test.Work", ref, "short")
			short = append(short, ref)
		}
		s.give(t, ackTasks(short...))
		for n := range byte(20) {
			s.task(t, "test.Work", attempt(100+n, 1, 1), "long")
		}
		if places := s.heard().GetTaskCredits(); places != 60 {
			t.Errorf("%d places in all while 20 of 40 are free, want 60", places)
		}
	})
}
