package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// pagedAPI serves a history in pages of one event.
type pagedAPI struct {
	apiv1.WorkflowServiceClient

	t        *testing.T
	history  events.HistoryInfo
	records  []*events.Record
	open     bool // until somebody waits for an end
	requests []string
}

func (p *pagedAPI) GetHistory(_ context.Context, r *apiv1.GetHistoryRequest, _ ...grpc.CallOption) (*apiv1.GetHistoryResponse, error) {
	p.requests = append(p.requests, fmt.Sprintf("%.4s from %d wait %s", r.GetRunId(), r.GetFromEvent(), r.GetWait().AsDuration()))
	var page []*events.Record
	next := r.GetFromEvent()
	for _, record := range p.records {
		for i, e := range record.Events {
			n := uint64(record.First) + uint64(i)
			if n < r.GetFromEvent() || len(page) > 0 || (p.open && events.EndsRun(e)) {
				continue
			}
			part := *record
			part.First, part.Events = events.EventNumber(n), []events.Event{e}
			page = append(page, &part)
			next = n + 1
			if events.EndsRun(e) {
				next = 0
			}
		}
	}
	if len(page) == 0 && r.GetWait() != nil {
		p.open = false // a wait that was in vain; the end comes now
	}
	document, err := events.MarshalHistory(p.history, page)
	if err != nil {
		p.t.Fatal(err)
	}
	return &apiv1.GetHistoryResponse{
		RunId: p.history.RunID.String(), History: &apiv1.Payload{Encoding: "json", Data: document}, NextEvent: next,
	}, nil
}

func newPagedAPI(t *testing.T, open bool) *pagedAPI {
	t.Helper()
	run := events.MakeRunID(1, [10]byte{1})
	header := events.Header{Schema: events.Schema, Namespace: "default", WorkflowID: "w", RunID: run, Time: 1_700_000_000_000_000, Seq: 7, First: 1}
	second := header
	second.Seq, second.First = 8, 3
	return &pagedAPI{
		t: t, open: open, history: events.HistoryInfo{Namespace: "default", WorkflowID: "w", RunID: run, Type: "a.B", Status: events.StatusRunning},
		records: []*events.Record{
			{Header: header, Events: []events.Event{
				events.RunStarted{Type: "a.B", Queue: "default", Input: events.Payload{Encoding: "json", Data: []byte(`{"n":1}`)}},
				events.ActivationScheduled{Activation: 1, Attempt: 1, Type: "a.B", Queue: "default", ReplayFrom: 1, Upto: 1},
			}},
			{Header: second, Events: []events.Event{events.RunTerminated{Reason: "enough"}}},
		},
	}
}

func TestHistoryMergesPages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		open, follow bool
		wantEvents   int
		wantRequests string
	}{
		{"ended", false, false, 3, " from 1 wait 0s; 0000 from 2 wait 0s; 0000 from 3 wait 0s"},
		{"open", true, false, 2, " from 1 wait 0s; 0000 from 2 wait 0s; 0000 from 3 wait 0s"},
		{"open, followed", true, true, 3, " from 1 wait 30s; 0000 from 2 wait 30s; 0000 from 3 wait 30s; 0000 from 3 wait 30s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, output := range outputs {
				api := newPagedAPI(t, c.open)
				var out bytes.Buffer
				a := &app{stdout: &out, output: output}
				if err := a.history(t.Context(), newHistoryPages(api, &apiv1.GetHistoryRequest{WorkflowId: "w", FromEvent: 1}, c.follow)); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(api.requests, "; "); got != c.wantRequests {
					t.Errorf("%s: requests\n got %s\nwant %s", output, got, c.wantRequests)
				}
				if output == "table" {
					if lines := strings.Count(out.String(), "\n"); lines != c.wantEvents+1 {
						t.Errorf("the table has %d lines:\n%s", lines, out.String())
					}
					continue
				}
				want := api.records
				if c.wantEvents < 3 {
					want = want[:1]
				}
				document, err := events.MarshalHistory(api.history, want)
				if err != nil || !bytes.Equal(out.Bytes(), document) {
					t.Errorf("the document (%v)\n got %s\nwant %s", err, out.Bytes(), document)
				}
			}
		})
	}
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	failure := events.Failure{Code: "declined", Message: "card\ndeclined"}
	long := events.Payload{Encoding: "json", Data: []byte(`"` + strings.Repeat("ü", 100) + `"`)}
	for want, e := range map[string]events.Event{
		`a.B {"n":1} on queue gpu`:                           events.RunStarted{Type: "a.B", Queue: "gpu", Input: events.Payload{Encoding: "json", Data: []byte(`{"n":1}`)}},
		`a.B (2 bytes, encoding "protobuf")`:                 events.RunStarted{Type: "a.B", Queue: "default", Input: events.Payload{Encoding: "protobuf", Data: []byte{1, 2}}},
		"activation 3 attempt 2: card declined [declined]":   events.ActivationFailed{Activation: 3, Attempt: 2, Failure: failure},
		"step 4 pay attempt 2 card declined [declined]":      events.StepRecorded{Step: 4, Label: "pay", Attempts: 2, Failure: &failure},
		"step 4 attempt 3 card declined [declined]":          events.TaskFailed{Step: 4, Attempt: 3, Failure: failure},
		"card declined [declined] (2 signals were not read)": events.RunFailed{Failure: failure, Unread: 2},
		`word #2 "` + strings.Repeat("ü", 58) + "…":          events.SignalReceived{Name: "word", Index: 2, Input: long},
	} {
		if got := summary(e); got != want {
			t.Errorf("%s: got  %s\nwant %s", events.EventName(e), got, want)
		}
	}
}

// TestInterrupted waits on a server that never answers.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := silent.Accept(); err == nil {
			accepted <- conn
		}
		cancel()
	}()
	var errs bytes.Buffer
	began := time.Now()
	if got := run(ctx, []string{"workflow", "result", "w", "--addr", silent.Addr().String()}, nil, discard{}, &errs); got != 1 || errs.String() != "Interrupted.\n" {
		t.Errorf("exit code %d and %q after %s", got, errs.String(), time.Since(began))
	}
	(<-accepted).Close()
}
