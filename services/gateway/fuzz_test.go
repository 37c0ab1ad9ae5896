package gateway_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// suiteLife is how many inputs one suite gets: what they start stays in its memory.
const suiteLife = 3_000

// lasting stands in for a test that lasts longer than one input; a fuzz test has none.
type lasting struct {
	testing.TB
	ends []func()
}

func (*lasting) Helper()                           {}
func (*lasting) Failed() bool                      { return false }
func (*lasting) Context() context.Context          { return context.Background() }
func (*lasting) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*lasting) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (l *lasting) Cleanup(end func())              { l.ends = append(l.ends, end) }

func (l *lasting) end() {
	for _, end := range slices.Backward(l.ends) {
		end()
	}
	l.ends = nil
}

// renewed gives a fuzz test its suite, a new one from time to time.
func renewed(f *testing.F) func() *suite {
	f.Helper()
	var (
		s    *suite
		life lasting
		used int
	)
	f.Cleanup(life.end)
	return func() *suite {
		if used%suiteLife == 0 {
			life.end()
			s = start(&life, settings{})
		}
		used++
		return s
	}
}

// FuzzREST sends whatever a browser or curl could: the answer is JSON with the status that its code has in the error table, and
// never a failure of the server.
func FuzzREST(f *testing.F) {
	for _, seed := range []struct{ method, address, key, body string }{
		{"POST", "/v1/workflows", "", `{"type": "Order", "workflow_id": "w", "input": {"a": 1}}`},
		{"POST", "/v1/workflows/w/signals/go", "k", `{"input": [1]}`},
		{"POST", "/v1/workflows/a%2Fb/cancel", "k", `{"reason": "r"}`},
		{"GET", "/v1/workflows/w/result?wait=0.01s", "", ""},
		{"GET", "/v1/workflows/w?wait_for.partition=1&wait_for.seq=1", "", ""},
		{"GET", "/v1/workflows?statuses=STATUS_RUNNING&page_size=5&page_token=AQ&started_from=2026-01-01T00:00:00Z", "", ""},
		{"GET", "/v1/workflows/w/history?from_event=1&page_size=-1", "", ""},
		{"GET", "/v1/workflows/w/views/%00", "", ""},
		{"GET", "/v1/workflow-counts?type=%ff", "", ""},
		{"GET", "/v1/stats/tasks?every=90s&from=2026-01-01T00:00:00Z", "", ""},
		{"GET", "/v1/stats/errors?limit=-1", "", ""},
		{"DELETE", "/v1/../v1//workflows/.", "", ""},
		{"GET", "/v1/server?x=1&x=2", "", ""},
		{"POST", "/v1/workflows", strings.Repeat("k", 129), `{"run_timeout": "-1s", "id_policy": 7}`},
		{"HEAD", "/openapi.json", "", ""},
		{"OPTIONS", "*", "", ""},
	} {
		f.Add(seed.method, seed.address, seed.key, []byte(seed.body))
	}
	suiteOf := renewed(f)
	f.Fuzz(func(t *testing.T, method, address, key string, body []byte) {
		target, err := url.ParseRequestURI(address)
		if err != nil || !token(method) {
			return // net/http refuses it before there is a request
		}
		s := suiteOf()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r := (&http.Request{
			Method: method, URL: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Idempotency-Key": {key}},
			Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)), RequestURI: address,
		}).WithContext(ctx)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code < 300 {
			return
		}
		var answer struct {
			Code    events.Code `json:"code"`
			Message string      `json:"message"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Message == "" {
			t.Fatalf("%s %q is answered %d %q", method, address, w.Code, w.Body)
		}
		kind := wire.KindOf(answer.Code)
		if kind.Code == events.Internal || kind.HTTP != w.Code && w.Code != http.StatusMethodNotAllowed {
			t.Fatalf("%s %q is answered %d %q; %s is %d", method, address, w.Code, w.Body, kind.Code, kind.HTTP)
		}
	})
}

// token reports whether net/http takes s as a method.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) })
}

// FuzzStreams sends messages that no SDK would to the streams of workers and clients: the stream goes on or ends with a stable
// code that is not the server's own failure, and the server serves others.
func FuzzStreams(f *testing.F) {
	ref := &apiv1.ActivationRef{WorkflowId: "w", RunId: "01924560-6c00-7001-8203-040506070809", Activation: 1, Attempt: 1}
	task := &apiv1.AttemptRef{WorkflowId: "w", RunId: ref.GetRunId(), Step: 1, Attempt: 1}
	seed := func(worker bool, all ...proto.Message) {
		var b []byte
		for _, m := range all {
			one, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(one))), one...)
		}
		f.Add(worker, b)
	}
	seed(true, &apiv1.WorkRequest{TaskCredits: -1, ActivationCredits: 1 << 30}, &apiv1.WorkRequest{
		TaskResults:       []*apiv1.TaskResult{{Task: task}, {Task: task, Outcome: &apiv1.TaskResult_Failure{Failure: &apiv1.Failure{}}, RetryAfter: durationpb.New(-1)}},
		ActivationResults: []*apiv1.ActivationResult{{Activation: ref, Outcome: &apiv1.ActivationResult_Progress{Progress: []byte{1, 2}}}},
		Heartbeats:        []*apiv1.TaskHeartbeat{{Task: task}}, ReplayRequests: []*apiv1.ReplayRequest{{Activation: ref, FromEvent: 9, ToEvent: 1}},
	}, &apiv1.WorkRequest{Hello: &apiv1.WorkerHello{}})
	seed(true, &apiv1.WorkRequest{EvictedRunIds: []string{"x"}, Draining: true})
	seed(false, &apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{
		{},
		{Call: 1, Request: &apiv1.ClientCall_Abandon{Abandon: &apiv1.Abandon{}}},
		{Call: 2, Request: &apiv1.ClientCall_Start{Start: &apiv1.StartWorkflowRequest{Type: "Order", Wait: durationpb.New(time.Hour)}}},
		{Call: 3, Request: &apiv1.ClientCall_Result{Result: &apiv1.GetResultRequest{WorkflowId: "w"}}},
		{Call: 3, Request: &apiv1.ClientCall_View{View: &apiv1.GetViewRequest{WorkflowId: "w", Name: "v"}}},
	}})
	suiteOf := renewed(f)
	f.Fuzz(func(t *testing.T, worker bool, b []byte) {
		var messages [][]byte
		for len(b) >= 2 && len(messages) < 50 {
			n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2)
			messages = append(messages, b[2:2+n])
			b = b[2+n:]
		}
		s := suiteOf()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var err error
		if worker {
			err = hostileWorker(ctx, s, messages)
		} else {
			err = hostileClient(ctx, s, messages)
		}
		if e := wire.FromStatus(err); err != nil && ctx.Err() == nil && e.Code == events.Internal {
			t.Fatalf("the stream ended with %v", err)
		}
		if _, err := s.client.GetServer(t.Context(), &apiv1.GetServerRequest{}); err != nil {
			t.Fatalf("others are not served: %v", err)
		}
		if s.logs.hasPanic() {
			log := s.logs.String()
			t.Fatalf("a request panicked: %.2000s", log[strings.Index(log, "panicked"):])
		}
	})
}

func hostileWorker(ctx context.Context, s *suite, messages [][]byte) error {
	stream, err := apiv1.NewWorkerServiceClient(s.conn).Work(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(&apiv1.WorkRequest{Hello: &apiv1.WorkerHello{
		Protocol: 1, WorkerId: "hostile", TaskSlots: 10, ActivationSlots: 10, Workflows: []*apiv1.Offer{{Name: "Order"}},
	}})
	for _, b := range messages {
		var m apiv1.WorkRequest
		if proto.Unmarshal(b, &m) == nil {
			_ = stream.Send(&m)
		}
	}
	_ = stream.CloseSend()
	for {
		if _, err := stream.Recv(); err != nil {
			return notEnd(err)
		}
	}
}

func hostileClient(ctx context.Context, s *suite, messages [][]byte) error {
	stream, err := apiv1.NewClientServiceClient(s.conn).Connect(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(&apiv1.ConnectRequest{Hello: &apiv1.ClientHello{Protocol: 1}})
	for _, b := range messages {
		var m apiv1.ConnectRequest
		if proto.Unmarshal(b, &m) == nil {
			_ = stream.Send(&m)
		}
	}
	_ = stream.CloseSend()
	for {
		r, err := stream.Recv()
		if err != nil {
			return notEnd(err)
		}
		for _, one := range r.GetResponses() {
			if refused := one.GetError(); refused != nil && wire.FromCallError(refused).Code == events.Internal {
				return &events.Error{Code: events.Internal, Message: refused.GetMessage()}
			}
		}
	}
}

func notEnd(err error) error {
	if err == io.EOF { //nolint:errorlint // the stream's own, never wrapped
		return nil
	}
	return err
}
