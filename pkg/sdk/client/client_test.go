package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

func TestCallsThatWereNotAnsweredAreSentAgainAsTheyWere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, func(g *gateway) { g.answer = nil })
		first := g.stream(0)
		var calls sync.WaitGroup
		for _, env := range []events.Envelope{start(1, 10), signal("a")} {
			calls.Go(func() {
				if _, err := c.Do(t.Context(), env); err != nil {
					t.Errorf("%T: %v", env.Command, err)
				}
			})
			synctest.Wait()
		}
		before := first.got()
		first.cut(errCut)
		g.set(func() { g.answer = started })
		second := g.stream(1)
		calls.Wait()
		after := second.got()
		if len(before) != 2 || len(after) != 2 {
			t.Fatalf("%d calls, then %d, want 2 and 2", len(before), len(after))
		}
		if before[0].GetStart().GetRunId() != after[0].GetStart().GetRunId() {
			t.Error("the start came again with another run id")
		}
		if id := before[1].GetSignal().GetRequestId(); id == "" || id != after[1].GetSignal().GetRequestId() {
			t.Errorf("the signal came with request id %q and then %q", id, after[1].GetSignal().GetRequestId())
		}
	})
}

func TestARequestThatIsTooLargeFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, nil)
		g.stream(0)
		if _, err := c.Do(t.Context(), start(1, 5<<20)); !errors.Is(err, &events.Error{Code: events.PayloadTooLarge}) {
			t.Errorf("got %v, want payload_too_large", err)
		}
		if _, err := c.Do(t.Context(), start(2, 10)); err != nil || g.count() != 1 {
			t.Errorf("the next call: %v in %d streams", err, g.count())
		}
	})
}

// Requests that fit one by one do not fit together.
func TestManyLargeRequestsTravelInSeveralMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, func(g *gateway) { g.refuse = errCut })
		var calls sync.WaitGroup
		for n := range byte(6) {
			calls.Go(func() {
				if _, err := c.Do(t.Context(), start(n+1, 1<<20-1000+int(n%2)*(5<<19))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // so that small and large ones alternate
		}
		g.set(func() { g.refuse = nil })
		calls.Wait()
		if g.count() != 1 {
			t.Errorf("%d streams, want 1", g.count())
		}
	})
}

func TestAnAbandonedCallIsForgottenOnBothSides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{MaxOpenCalls: 1}, func(g *gateway) { g.answer = nil })
		s := g.stream(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, signal("a"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		got := s.got()
		if len(got) != 2 || got[1].GetAbandon() == nil || got[1].GetCall() != got[0].GetCall() {
			t.Fatalf("got %v, want the call and that it is abandoned", got)
		}
		s.send <- &apiv1.ConnectResponse{Responses: []*apiv1.ClientResponse{{ // too late
			Call: got[0].GetCall(), Response: &apiv1.ClientResponse_Signal{Signal: &apiv1.SignalWorkflowResponse{}},
		}}}
		g.set(func() { g.answer = started })
		if _, err := c.Do(t.Context(), signal("b")); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

func TestCallsGivenUpWhileTheServerIsGoneAreNeverSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, func(g *gateway) { g.refuse = errCut })
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, err := c.Do(ctx, start(1, 1<<20))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		}
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Do(ctx, signal("x")); err == nil || !strings.Contains(err.Error(), "the line is cut") {
			t.Errorf("got %v, want it to say why there was no answer", err)
		}
		g.set(func() { g.refuse = nil })
		if got := g.stream(0).got(); len(got) != 0 {
			t.Errorf("%d calls were sent that nobody waits for", len(got))
		}
	})
}

func TestTheServersBoundOfOpenCallsIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, func(g *gateway) { g.answer, g.maxOpen = nil, 2 })
		s := g.stream(0)
		var calls sync.WaitGroup
		for n := range 5 {
			calls.Go(func() {
				if _, err := c.Do(t.Context(), signal(fmt.Sprint(n))); err != nil {
					t.Error(err)
				}
			})
		}
		for want := 2; want <= 5; want++ {
			got := s.got()
			if len(got) != want {
				t.Fatalf("%d calls came, want %d", len(got), want)
			}
			s.send <- &apiv1.ConnectResponse{Responses: []*apiv1.ClientResponse{{
				Call: got[want-2].GetCall(), Response: &apiv1.ClientResponse_Signal{Signal: &apiv1.SignalWorkflowResponse{}},
			}}}
		}
		s.send <- &apiv1.ConnectResponse{Responses: []*apiv1.ClientResponse{{
			Call: s.got()[4].GetCall(), Response: &apiv1.ClientResponse_Signal{Signal: &apiv1.SignalWorkflowResponse{}},
		}}}
		calls.Wait()
	})
}

func TestRefusalsForLoadAreTriedAgainAndOthersAreNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code  events.Code
		after int64
		calls int           // 0 means success in the end
		took  time.Duration // give or take half of it
	}{
		"overloaded":        {events.Overloaded, 1500, 0, 3 * time.Second},
		"not found":         {events.NotFound, 0, 1, 0},
		"inbox full":        {events.InboxFull, 0, 1, 0},
		"too long to await": {events.DiskFull, 60_000, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, c := dialled(t, client.Options{}, func(g *gateway) {
					g.answer = func(n int, call *apiv1.ClientCall) *apiv1.ClientResponse {
						if test.calls == 0 && n == 2 {
							return started(n, call)
						}
						return refusal(test.code, test.after)
					}
				})
				s := g.stream(0)
				began := time.Now()
				_, err := c.Do(t.Context(), signal("a"))
				took := time.Since(began)
				got := s.got()
				switch {
				case test.calls == 0 && (err != nil || len(got) != 3 || (took-test.took).Abs() > test.took/2):
					t.Errorf("%v after %d calls and %s", err, len(got), took)
				case test.calls > 0 && (!errors.Is(err, &events.Error{Code: test.code}) || len(got) != test.calls):
					t.Errorf("%v after %d calls", err, len(got))
				}
				for _, call := range got {
					if call.GetSignal().GetRequestId() != got[0].GetSignal().GetRequestId() {
						t.Error("a repeated signal has another request id: it could happen twice")
					}
				}
			})
		})
	}
}

// Those who are refused again and again wait no longer each time: they would give way to newcomers for ever.
func TestTheRefusedDoNotFallBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const refusals = 20
		_, c := dialled(t, client.Options{}, func(g *gateway) {
			g.answer = func(n int, call *apiv1.ClientCall) *apiv1.ClientResponse {
				if n == refusals {
					return started(n, call)
				}
				return refusal(events.Overloaded, 100)
			}
		})
		began := time.Now()
		if _, err := c.Do(t.Context(), signal("a")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < refusals*50*time.Millisecond || took > refusals*150*time.Millisecond {
			t.Errorf("%d refusals of 100 ms took %s", refusals, took)
		}
	})
}

func TestLoadForTooLongIsReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := dialled(t, client.Options{}, func(g *gateway) {
			g.answer = func(int, *apiv1.ClientCall) *apiv1.ClientResponse { return refusal(events.Overloaded, 0) }
		})
		began := time.Now()
		_, err := c.Do(t.Context(), signal("a"))
		if took := time.Since(began); !errors.Is(err, &events.Error{Code: events.Overloaded}) || took > 11*time.Second {
			t.Errorf("got %v after %s", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, signal("a")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, &events.Error{Code: events.Overloaded}) {
			t.Errorf("got %v, want both the end of the context and the refusal", err)
		}
	})
}

// A command whose outcome the server does not know in time is asked again with the same request id, as long as there is time.
func TestUnknownOutcomesAreAskedAgain(t *testing.T) {
	t.Parallel()
	late := func(call *apiv1.ClientCall) *apiv1.ClientResponse {
		if call.GetStart() == nil {
			return refusal(events.DeadlineExceeded, 0)
		}
		return &apiv1.ClientResponse{Response: &apiv1.ClientResponse_Start{Start: &apiv1.StartWorkflowResponse{
			RunId: call.GetStart().GetRunId(), Accepted: true,
		}}}
	}
	start := events.Envelope{WorkflowID: "a", RunID: events.RunID{1}, Command: events.StartWorkflow{Type: "t"}}
	bare := start
	bare.RunID = events.RunID{}
	for name, command := range map[string]events.Envelope{"start": start, "signal": signal("a"), "start without a run id": bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, c := dialled(t, client.Options{}, func(g *gateway) {
					g.answer = func(n int, call *apiv1.ClientCall) *apiv1.ClientResponse {
						if n < 3 || n > 3 {
							return late(call)
						}
						return refusal(events.AlreadyOpen, 0)
					}
				})
				if _, err := c.Do(t.Context(), command); !errors.Is(err, &events.Error{Code: events.AlreadyOpen}) {
					t.Errorf("the outcome that comes late is lost: %v", err)
				}
				got := g.stream(0).got()
				if got[0].GetSignal().GetRequestId()+got[0].GetStart().GetRunId() == "" {
					t.Error("a command that is repeated has no id: it could happen twice")
				}
				for _, call := range got {
					if call.GetSignal().GetRequestId() != got[0].GetSignal().GetRequestId() || call.GetStart().GetRunId() != got[0].GetStart().GetRunId() {
						t.Error("a repeated command has another request id: it could happen twice")
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				answer, err := c.Do(ctx, command)
				if name == "start" && (err != nil || answer.Code != events.Accepted || answer.RunID != start.RunID) {
					t.Errorf("a start that is durable when time is up: %+v, %v", answer, err)
				}
				if name == "signal" && !errors.Is(err, &events.Error{Code: events.DeadlineExceeded}) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a signal that is not decided when time is up: %v", err)
				}
			})
		})
	}
}

func TestResultWaitsThroughRestartsOfTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := 0
		g, c := dialled(t, client.Options{}, func(g *gateway) {
			g.answer = func(_ int, call *apiv1.ClientCall) *apiv1.ClientResponse {
				mu.Lock()
				defer mu.Unlock()
				asked++
				switch {
				case asked == 1:
					return outcome(runID(7), apiv1.Status_STATUS_RUNNING) // the server stops and answers at once
				case call.GetResult().GetRunId() != runID(7).String():
					t.Errorf("asked for run %q, want the one that was found first", call.GetResult().GetRunId())
				case asked < 30:
					return refusal(events.Unavailable, 1000) // not ready yet
				}
				return outcome(runID(7), apiv1.Status_STATUS_COMPLETED)
			}
		})
		g.stream(0)
		done := make(chan error, 1)
		go func() {
			out, err := c.Result(t.Context(), flow.RunRef{WorkflowID: "w"})
			if err == nil && (out.RunID != runID(7) || out.Status != events.StatusCompleted) {
				err = fmt.Errorf("got %+v", out)
			}
			done <- err
		}()
		synctest.Wait()
		g.set(func() { g.refuse = errCut })
		g.stream(0).cut(errCut)
		time.Sleep(time.Minute)
		g.set(func() { g.refuse = nil })
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestARefusedClientSaysWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := dialled(t, client.Options{}, func(g *gateway) {
			g.refuse = wire.ToStatus(&events.Error{Code: events.SDKTooNew, Message: "upgrade the server first"}).Err()
		})
		for range 2 {
			if _, err := c.Do(t.Context(), signal("a")); !errors.Is(err, &events.Error{Code: events.SDKTooNew}) {
				t.Errorf("got %v, want sdk_too_new", err)
			}
		}
	})
}

// What the server says in the middle of a stream is no verdict about the client.
func TestAnErrorInTheMiddleOfAStreamIsNoRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, nil)
		g.stream(0).cut(wire.ToStatus(&events.Error{Code: events.InvalidArgument, Message: "that message"}).Err())
		if _, err := c.Do(t.Context(), signal("a")); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsOpenCalls(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*gateway){
		"while the server is silent": func(g *gateway) { g.answer = nil },
		"while there is no server":   func(g *gateway) { g.down = true },
		"while it waits for load": func(g *gateway) {
			g.answer = func(int, *apiv1.ClientCall) *apiv1.ClientResponse { return refusal(events.Overloaded, 1) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, c := dialled(t, client.Options{MaxOpenCalls: 2}, change)
				done := make(chan error, 3)
				for range 3 {
					go func() {
						_, err := c.Do(t.Context(), signal("a"))
						done <- err
					}()
				}
				synctest.Wait()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				for range 3 {
					if err := <-done; !errors.Is(err, &events.Error{Code: events.Unavailable}) && !errors.Is(err, &events.Error{Code: events.Overloaded}) {
						t.Errorf("got %v", err)
					}
				}
				if _, err := c.Do(t.Context(), signal("a")); !errors.Is(err, &events.Error{Code: events.Unavailable}) {
					t.Errorf("a call after Close: %v", err)
				}
				if err := c.Close(); err != nil {
					t.Errorf("a second Close: %v", err)
				}
			})
		})
	}
}

func TestTheClientIsBackSoonAfterALongOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, c := dialled(t, client.Options{}, nil)
		g.stream(0)
		g.set(func() {
			g.down = true
			for _, w := range g.wires {
				_ = w.Close()
			}
		})
		time.Sleep(time.Hour)
		g.set(func() { g.down = false })
		began := time.Now()
		if _, err := c.Do(t.Context(), signal("a")); err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestABadAddressIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	if _, err := client.Dial("\x00://", client.Options{}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:7481") {
		t.Errorf("got %v, want an example of an address", err)
	}
}
