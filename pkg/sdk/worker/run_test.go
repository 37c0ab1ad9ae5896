package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

func echo(_ context.Context, in string) (string, error) { return in, nil }

// answerFence tells the worker to stop the attempt that it asked about in its drain, as a gateway does.
func answerFence(t *testing.T, s *stream) {
	t.Helper()
	h := s.heard()
	if !h.GetDraining() || len(h.GetHeartbeats()) == 0 {
		t.Fatal("the worker did not say that it drains, or asks for no answer")
	}
	s.give(t, &apiv1.WorkResponse{CancelledTasks: []*apiv1.AttemptRef{h.GetHeartbeats()[len(h.GetHeartbeats())-1].GetTask()}})
}

// A delivery and the end of the worker cross on the wire: the worker does what was delivered before it leaves.
func TestDrainDoesWhatWasOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		r := g.run(quiet(worker.Options{Tasks: 4}), work.With(echo))
		s := g.stream(0)
		r.stop()
		s.task(t, "test.Work", attempt(1, 1, 1), "x")
		answerFence(t, s)
		if over, _ := r.ended(); over {
			t.Fatal("the worker left before its result was acknowledged")
		}
		if n := len(s.heard().GetTaskResults()); n != 1 {
			t.Fatalf("%d results, want 1", n)
		}
		s.give(t, ackTasks(attempt(1, 1, 1)))
		if over, err := r.ended(); !over || err != nil {
			t.Errorf("ended: %v, %v, want true", over, err)
		}
		if got := s.heard().GetTaskCredits(); got != 4 {
			t.Errorf("a draining worker granted places: %d in all, want the first 4", got)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	stubborn := func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	for name, test := range map[string]struct {
		busy bool
		gone bool
		want time.Duration
	}{
		"idle, the server answers nothing":   {want: 2 * time.Second},
		"idle, the server is gone":           {gone: true, want: 0},
		"a long task":                        {busy: true, want: 30 * time.Second},
		"a long task and the server is gone": {busy: true, gone: true, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				r := g.run(quiet(worker.Options{}), work.With(stubborn))
				s := g.stream(0)
				if test.busy {
					s.task(t, "test.Work", attempt(1, 1, 1), "x")
				}
				if test.gone {
					g.set(func() { g.refuse = errCut })
					s.cut(errCut)
				}
				began := time.Now()
				r.stop()
				err := <-r.done
				r.done <- err
				if took := time.Since(began); err != nil || took < test.want || took > test.want+time.Second {
					t.Errorf("Run ended after %s with %v, want after %s", took, err, test.want)
				}
			})
		})
	}
}

func TestDrainGoesOnOverAReconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		g := newGateway(t)
		r := g.run(quiet(worker.Options{}), work.With(func(_ context.Context, in string) (string, error) {
			<-gate
			return in, nil
		}))
		first := g.stream(0)
		first.task(t, "test.Work", attempt(1, 1, 1), "x")
		r.stop()
		synctest.Wait()
		first.cut(errCut)
		second := g.stream(1)
		if h := second.heard(); !h.GetDraining() || h.GetTaskCredits() != 0 || len(second.hello.GetRunningTasks()) != 1 {
			t.Errorf("the second stream says %v", h)
		}
		close(gate)
		synctest.Wait() // an acknowledgement before the result is of no use
		second.give(t, ackTasks(attempt(1, 1, 1)))
		if over, err := r.ended(); !over || err != nil {
			t.Errorf("ended: %v, %v, want true", over, err)
		}
	})
}

func TestARefusedWorkerEndsWithTheReason(t *testing.T) {
	t.Parallel()
	for _, code := range []events.Code{events.SDKTooNew, events.SignatureMismatch, events.DuplicateName} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.refuse = wire.ToStatus(&events.Error{Code: code, Message: "because"}).Err()
				r := g.run(quiet(worker.Options{}), work.With(echo))
				synctest.Wait()
				over, err := r.ended()
				if !over || !errors.Is(err, &events.Error{Code: code}) || !strings.Contains(err.Error(), "because") {
					t.Errorf("ended: %v with %v, want %s", over, err, code)
				}
			})
		})
	}
}

// What the server says about a message is no verdict about the worker.
func TestAnErrorInTheMiddleOfAStreamIsNoRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		r := g.run(quiet(worker.Options{}), work.With(echo))
		g.stream(0).cut(wire.ToStatus(&events.Error{Code: events.InvalidArgument, Message: "that message"}).Err())
		g.stream(1)
		if over, err := r.ended(); over {
			t.Errorf("the worker ended: %v", err)
		}
	})
}

// A server that cuts every stream at once is not asked twenty times a second.
func TestStreamsThatBreakAtOnceAreTriedLessAndLessOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{}), work.With(echo))
		began := time.Now()
		for n := 0; time.Since(began) < time.Minute; n++ {
			g.stream(n).cut(errCut)
		}
		if n := g.count(); n < 10 || n > 60 {
			t.Errorf("%d streams in a minute, want 10 to 60", n)
		}
	})
}

func TestTheWorkerIsBackSoonAfterALongOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{}), work.With(echo))
		g.stream(0)
		g.set(func() { g.down = true })
		g.hangUp()
		time.Sleep(time.Hour)
		g.set(func() { g.down = false })
		began := time.Now()
		g.stream(1)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s to connect again", took)
		}
	})
}

func TestAWorkerWhoseClientIsClosedEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		r := g.run(quiet(worker.Options{}), work.With(echo))
		g.stream(0)
		if err := r.client.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if over, err := r.ended(); !over || !errors.Is(err, worker.ErrClientClosed) {
			t.Errorf("ended: %v with %v, want %v", over, err, worker.ErrClientClosed)
		}
	})
}

// A task and its cancel may come in one message.
func TestACancelInTheMessageOfItsTaskIsNotLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(quiet(worker.Options{Tasks: 4}), work.With(func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}))
		s := g.stream(0)
		s.give(t, &apiv1.WorkResponse{
			Tasks:          []*apiv1.TaskDelivery{{Task: attempt(1, 1, 1), Name: "test.Work", Input: value(t, "x")}},
			CancelledTasks: []*apiv1.AttemptRef{attempt(1, 1, 1)},
		})
		if got := s.heard(); got.GetTaskCredits() != 5 || len(got.GetTaskResults()) != 0 {
			t.Errorf("%d places granted and %d results, want 5 and none", got.GetTaskCredits(), len(got.GetTaskResults()))
		}
	})
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	c, err := client.Dial("127.0.0.1:1", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good := work.With(echo)
	for name, test := range map[string]struct {
		client *client.Client
		parts  []worker.Option
		want   string
	}{
		"no client":      {nil, []worker.Option{good}, "client"},
		"no code":        {c, nil, "bindings"},
		"options twice":  {c, []worker.Option{worker.Options{}, worker.Options{}, good}, "twice"},
		"duplicate name": {c, []worker.Option{good, flow.NewTask[int, int]("test.Work").With(func(context.Context, int) (int, error) { return 0, nil })}, "test.Work"},
		"bad definition": {c, []worker.Option{flow.NewTask[int, int]("").With(nil)}, "flow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := worker.New(test.client, test.parts...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestAWorkerRunsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		c, err := client.Dial("passthrough:fake", client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w, err := worker.New(c, quiet(worker.Options{}), work.With(echo))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run with an ended context: %v", err)
		}
		if err := w.Run(t.Context()); err == nil {
			t.Error("Run ran twice")
		}
		g.server.Stop()
	})
}
