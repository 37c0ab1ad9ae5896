// Package limits_test holds docs/reference/limits.md against a running server: what is at a limit works, and one more is
// refused as the table says.
package limits_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
	"github.com/continuo-dev/continuo/test/fixture"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(fixture.Main(m, nil))
}

// limit is a row of the reference, by its first cell, and what holds it.
type limit struct {
	row   string
	check func(t *testing.T, s *fixture.Suite)
}

var cases = []limit{
	{"workflow id, namespace", workflowID},
	{"names of types, tasks, signals, views, queues", names},
	{"request id", requestID},
	{"reason of cancel, terminate, release", reason},
	{"payload", payloads},
	{"name of a payload's encoding", encoding},
	{"message to the server, REST body", messages},
	{"message and details of a failure", failures},
	{"arguments of a service's method", arguments},
	{"codes that end the retries of a task", retryCodes},
	{"names that a worker offers", offers},
	{"slots of a worker", slots},
	{"unread signals of a run", unreadSignals},
	{"signal names of a run", signalNames},
	{"open tasks of a run", openTasks},
	{"open timers of a run, steps that back off included", openTimers},
	{"views of a run", views},
	{"what a worker reports at a time (the Go SDK reports in pages)", reportedCalls},
	{"its payloads below 1 KiB (larger ones are kept as blobs)", smallPayloads},
	{"request ids remembered", requestsRemembered},
	{"wait for a result or for history in one request", waits},
	{"pages of lists; of histories", pages},
	{"what `describe` lists of a run", described},
	{"rows of task statistics; of top errors", statisticsRows},
	{"kinds of errors counted in an hour (in SQLite)", errorKinds},
	{"calls open in a Go client; on a client's stream", openCalls},
	{"calls open in a server", serverCalls},
	{"streams of clients and workers", streams},
	{"client commands that wait for the engine", waitingCommands},
	{"client commands waiting in a partition", waitingCommands},
	{"tokens of a server; their names", tokens},
	{"partitions", partitions},
}

var hasNumber = regexp.MustCompile(`[0-9]`)

// TestLimits runs the case of every row that has a number; a row without a case fails, and so does a case without a row.
func TestLimits(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	s := fixture.Start(t)
	s.Worker(t, append(code(), worker.Options{Log: fixture.Quiet(), Tasks: 1000})...)
	began := time.Now()
	rows, passed := map[string]bool{}, atomic.Int32{}
	t.Run("row", func(t *testing.T) {
		for line := range strings.Lines(string(page)) {
			cells := strings.Split(strings.TrimSpace(line), " | ")
			if len(cells) < 3 || !strings.HasPrefix(line, "| ") || cells[0] == "| what" {
				continue
			}
			what, bound := strings.TrimPrefix(cells[0], "| "), cells[1]
			rows[what] = true
			if !hasNumber.MatchString(bound) {
				continue
			}
			i := slices.IndexFunc(cases, func(c limit) bool { return c.row == what })
			if i < 0 {
				t.Errorf("the limit of %q (%s) has no case", what, bound)
				continue
			}
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				cases[i].check(t, s)
				passed.Add(1)
			})
		}
	})
	for _, c := range cases {
		if !rows[c.row] {
			t.Errorf("the case %q has no row in the reference", c.row)
		}
	}
	fmt.Printf("limits: %d of %d rows hold, in %s\n", passed.Load(), len(cases), time.Since(began).Round(time.Second/10))
}

// expect fails unless err has the code and says what the limit is.
func expect(t *testing.T, err error, code events.Code, says string) {
	t.Helper()
	e := asError(err)
	if e == nil || e.Code != code || !strings.Contains(e.Message, says) {
		t.Errorf("answered %v, want %s with %q", err, code, says)
	}
}

func asError(err error) *events.Error {
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e
	}
	return wire.FromStatus(err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(n int) string { return strings.Repeat("x", n) }

// open starts a run of waiter that is unique to the test and waits for its end.
func open(t *testing.T, s *fixture.Suite) string {
	t.Helper()
	id := "open/" + t.Name()
	_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{WorkflowId: id, Type: waiter.Name()})
	must(t, err)
	return id
}

// finish ends a run of waiter.
func finish(t *testing.T, s *fixture.Suite, id string) {
	t.Helper()
	must(t, end.Send(t.Context(), s.Client, id, flow.None{}))
}

// failedActivation waits until the newest activation of a run has failed and returns the failure.
func failedActivation(t *testing.T, s *fixture.Suite, id string) *apiv1.Failure {
	t.Helper()
	var failure *apiv1.Failure
	fixture.Eventually(t, 20*time.Second, func() (bool, string) {
		d, err := s.API.DescribeWorkflow(t.Context(), &apiv1.DescribeWorkflowRequest{WorkflowId: id})
		if err != nil {
			return false, err.Error()
		}
		failure = d.GetActivation().GetLastFailure()
		return failure != nil, fmt.Sprintf("%s, %.300s", d.GetInfo().GetStatus(), fmt.Sprint(d.GetWaitsFor()))
	})
	return failure
}

func expectFailure(t *testing.T, f *apiv1.Failure, code, says string) {
	t.Helper()
	if f.GetCode() != code || !strings.Contains(f.GetMessage(), says) {
		t.Errorf("failed with %s: %.300s; want %s with %q", f.GetCode(), f.GetMessage(), code, says)
	}
}

func workflowID(t *testing.T, s *fixture.Suite) {
	start := func(ns, id string) error {
		_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{Namespace: ns, WorkflowId: id, Type: "nobody"})
		return err
	}
	must(t, start("", text(255)))
	expect(t, start("", text(256)), events.BadIDCode, "255")
	expect(t, start("", "a\nb"), events.BadIDCode, "not allowed")
	expect(t, start("", "a\xff"), events.Internal, "UTF-8") // the gRPC library's own refusal
	expect(t, start(text(255), "x"), events.NotFound, "namespace")
	expect(t, start(text(256), "x"), events.BadIDCode, "255")
}

func names(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	for what, call := range map[string]func(name string) error{
		"type": func(name string) error {
			_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{Type: name})
			return err
		},
		"queue": func(name string) error {
			_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{Type: "nobody", Queue: name})
			return err
		},
		"signal": func(name string) error {
			_, err := s.API.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: name})
			return err
		},
		"view": func(name string) error {
			_, err := s.API.GetView(t.Context(), &apiv1.GetViewRequest{WorkflowId: id, Name: name})
			if e := asError(err); e != nil && e.Code == events.ViewNotFound {
				return nil // the name is good
			}
			return err
		},
		"task": func(name string) error { return hello(t, s, &apiv1.WorkerHello{Tasks: []*apiv1.Offer{{Name: name}}}) },
	} {
		if err := call(text(255)); err != nil {
			t.Errorf("%s of 255 bytes: %v", what, err)
		}
		expect(t, call(text(256)), events.BadIDCode, "255")
		expect(t, call("a b"), events.BadIDCode, "not allowed")
	}
}

func requestID(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	send := func(request string) error {
		_, err := s.API.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: "any", RequestId: request})
		return err
	}
	must(t, send(text(128)))
	expect(t, send(text(129)), events.BadIDCode, "128")
}

func reason(t *testing.T, s *fixture.Suite) {
	id := open(t, s)
	cancel := func(reason string) error {
		_, err := s.API.CancelWorkflow(t.Context(), &apiv1.CancelWorkflowRequest{WorkflowId: id, Reason: reason})
		return err
	}
	terminate := func(reason string) error {
		_, err := s.API.TerminateWorkflow(t.Context(), &apiv1.TerminateWorkflowRequest{WorkflowId: id, Reason: reason})
		return err
	}
	release := func(reason string) error {
		_, err := s.API.ReleaseWorkflow(t.Context(), &apiv1.ReleaseWorkflowRequest{WorkflowId: id, Reason: reason})
		return err
	}
	expect(t, cancel(text(4<<10+1)), events.InvalidArgument, "4096")
	expect(t, terminate(text(4<<10+1)), events.InvalidArgument, "4096")
	expect(t, release(text(4<<10+1)), events.InvalidArgument, "4096")
	expect(t, release(text(4<<10)), events.NotQuarantined, "")
	must(t, terminate(text(4<<10)))
	id = open(t, s)
	must(t, cancel(text(4<<10)))
}

func payloads(t *testing.T, s *fixture.Suite) {
	const most = 2 << 20
	// In: JSON of exactly n bytes.
	value := func(n int) *apiv1.Payload {
		return &apiv1.Payload{Encoding: "json", Data: []byte(`"` + text(n-2) + `"`)}
	}
	start := func(n int) error {
		_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{Type: "nobody", Input: value(n)})
		return err
	}
	must(t, start(most))
	expect(t, start(most+1), events.PayloadTooLarge, fmt.Sprint(most))
	id := open(t, s)
	signal := func(n int) error {
		_, err := s.API.SignalWorkflow(t.Context(), &apiv1.SignalWorkflowRequest{WorkflowId: id, Name: "any", Input: value(n)})
		return err
	}
	must(t, signal(most))
	expect(t, signal(most+1), events.PayloadTooLarge, fmt.Sprint(most))
	// Out: a task's result, and a workflow's own.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := echo.Run(ctx, s.Client, most-2)
	if err != nil || len(got) != most-2 {
		t.Errorf("a result of 2 MiB: %d bytes, %v", len(got), err)
	}
	_, err = echo.Run(ctx, s.Client, most-1)
	var failed *flow.RunError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), events.CodePayloadTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(most)) {
		t.Errorf("a result above 2 MiB: %.300v", err)
	}
}

func encoding(t *testing.T, s *fixture.Suite) {
	start := func(n int) error {
		_, err := s.API.StartWorkflow(t.Context(), &apiv1.StartWorkflowRequest{Type: "nobody", Input: &apiv1.Payload{Encoding: text(n), Data: []byte("1")}})
		return err
	}
	must(t, start(64))
	expect(t, start(65), events.InvalidArgument, "64")
}

func partitions(t *testing.T, s *fixture.Suite) {
	server, err := s.API.GetServer(t.Context(), &apiv1.GetServerRequest{})
	must(t, err)
	if server.GetPartitions() != 4 {
		t.Errorf("the server has %d partitions", server.GetPartitions())
	}
}

// hello opens a worker's stream and returns the server's refusal, if it refuses.
func hello(t *testing.T, s *fixture.Suite, h *apiv1.WorkerHello) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.Protocol, h.WorkerId, h.Queue = 1, "worker/"+t.Name(), "hello"
	stream, err := apiv1.NewWorkerServiceClient(s.Client.Conn()).Work(ctx, grpc.MaxCallSendMsgSize(64<<20))
	must(t, err)
	_ = stream.Send(&apiv1.WorkRequest{Hello: h})
	_, err = stream.Recv()
	return err
}
