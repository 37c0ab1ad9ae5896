package gateway_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
)

type restError struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	RetryAfterMs int64  `json:"retry_after_ms"`
	RunID        string `json:"run_id"`
}

func TestRESTRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.startOrder("taken", `1`)
	large := `{"type":"Order","input":"` + strings.Repeat("x", wire.MaxPayloadBytes) + `"}`
	tooLarge := `{"type":"Order","input":"` + strings.Repeat("x", wire.MaxMessageBytes) + `"}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code, says               string
	}{
		{"malformed JSON", "POST", "/v1/workflows", "{\n\"type\": Order}", 400, "invalid_argument", "line 2"},
		{"not an object", "POST", "/v1/workflows", `[1]`, 400, "invalid_argument", "not a JSON object"},
		{"two documents", "POST", "/v1/workflows", `{"type":"Order"} {}`, 400, "invalid_argument", "not valid JSON"},
		{"unknown member", "POST", "/v1/workflows", `{"type":"Order","colour":"red"}`, 400, "invalid_argument", `unknown field "colour"`},
		{"wrong type", "POST", "/v1/workflows", `{"type":7}`, 400, "invalid_argument", "type"},
		{"bad duration", "POST", "/v1/workflows", `{"type":"Order","run_timeout":"soon"}`, 400, "invalid_argument", "soon"},
		{"negative duration", "POST", "/v1/workflows", `{"type":"Order","run_timeout":"-1s"}`, 400, "invalid_argument", "run_timeout is negative"},
		{"negative wait", "POST", "/v1/workflows", `{"type":"Order","wait":"-1s"}`, 400, "invalid_argument", "wait is negative"},
		{"bad policy", "POST", "/v1/workflows", `{"type":"Order","id_policy":"NEVER"}`, 400, "invalid_argument", "NEVER"},
		{"no type", "POST", "/v1/workflows", ``, 400, "bad_id", "workflow type is empty"},
		{"bad id", "POST", "/v1/workflows", `{"type":"Order","workflow_id":"a\u0007"}`, 400, "bad_id", "U+0007"},
		{"bad run id", "POST", "/v1/workflows", `{"type":"Order","run_id":"seven"}`, 400, "bad_id", "UUID"},
		{"bad namespace", "POST", "/v1/workflows", `{"type":"Order","namespace":"acme"}`, 404, "not_found", "acme"},
		{"bad payload", "POST", "/v1/workflows", `{"type":"Order","input":{"@encoding":"x","@data":"?"}}`, 400, "invalid_argument", "base64"},
		{"payload without data", "POST", "/v1/workflows", `{"type":"Order","input":{"@encoding":"x","more":1}}`, 400, "invalid_argument", "nothing else"},
		{"payload too large", "POST", "/v1/workflows", large, 413, "payload_too_large", "the limit is 2097152"},
		{"body too large", "POST", "/v1/workflows", tooLarge, 413, "payload_too_large", "4194304"},
		{"id conflict", "POST", "/v1/workflows", `{"type":"Order","workflow_id":"taken"}`, 409, "already_open", "taken"},
		{"unknown run", "POST", "/v1/workflows/nobody/signals/hi", `{}`, 404, "not_found", "nobody"},
		{"signal to unknown run id", "POST", "/v1/workflows/taken/signals/hi", `{"run_id":"0190f0c4-5e6a-7c3e-9d55-0242ac120002"}`, 404, "not_found", ""},
		{"bad signal name", "POST", "/v1/workflows/taken/signals/a%20b", `{}`, 400, "bad_id", "signal name"},
		{"cancel unknown", "POST", "/v1/workflows/nobody/cancel", ``, 404, "not_found", "nobody"},
		{"terminate unknown", "POST", "/v1/workflows/nobody/terminate", ``, 404, "not_found", "nobody"},
		{"release healthy", "POST", "/v1/workflows/taken/release", ``, 409, "not_quarantined", ""},
		{"long reason", "POST", "/v1/workflows/taken/cancel", `{"reason":"` + strings.Repeat("x", 5000) + `"}`, 400, "invalid_argument", "reason"},
		{"bad request id", "POST", "/v1/workflows/taken/cancel", `{"request_id":"a b"}`, 400, "bad_id", "request id"},
		{"describe unknown", "GET", "/v1/workflows/nobody", ``, 404, "not_found", "nobody"},
		{"result of unknown", "GET", "/v1/workflows/nobody/result", ``, 404, "not_found", "nobody"},
		{"history of unknown", "GET", "/v1/workflows/nobody/history", ``, 404, "not_found", "nobody"},
		{"history of unknown run", "GET", "/v1/workflows/taken/history?run_id=0190f0c4-5e6a-7c3e-9d55-0242ac120002", ``, 404, "not_found", ""},
		{"history from beyond", "GET", "/v1/workflows/taken/history?from_event=9999", ``, 400, "invalid_argument", "fewer events"},
		{"history page", "GET", "/v1/workflows/taken/history?page_size=100000", ``, 400, "invalid_argument", "page_size"},
		{"view of unknown", "GET", "/v1/workflows/nobody/views/v", ``, 404, "not_found", "nobody"},
		{"unknown view", "GET", "/v1/workflows/taken/views/v", ``, 404, "view_not_found", `"v"`},
		{"unknown parameter", "GET", "/v1/workflows?colour=red", ``, 400, "invalid_argument", "colour"},
		{"bad status", "GET", "/v1/workflows?statuses=GONE", ``, 400, "invalid_argument", "GONE"},
		{"bad page size", "GET", "/v1/workflows?page_size=5000", ``, 400, "invalid_argument", "page_size is 5000"},
		{"bad page token", "GET", "/v1/workflows?page_token=xyz", ``, 400, "invalid_argument", "page_token"},
		{"bad time", "GET", "/v1/workflows?started_from=yesterday", ``, 400, "invalid_argument", "started_from"},
		{"bad partition", "GET", "/v1/workflows/taken?wait_for.partition=99&wait_for.seq=1", ``, 400, "invalid_argument", "partition 99"},
		{"unknown path", "GET", "/v1/nothing", ``, 404, "not_found", "/openapi.json"},
		{"wrong method", "DELETE", "/v1/workflows", ``, 405, "not_implemented", "DELETE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, body := s.rest(c.method, c.path, c.body)
			got := decode[restError](t, body)
			if status != c.status || got.Code != c.code || !strings.Contains(got.Message, c.says) {
				t.Errorf("%s %s: %d %s\nwant %d %s with %q", c.method, c.path, status, body, c.status, c.code, c.says)
			}
			if len(got.Message) > 1000 {
				t.Errorf("the message has %d bytes", len(got.Message))
			}
		})
	}
}

func TestRESTNamesTheRunInTheWay(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	run := s.startOrder("taken", `1`).GetRunId()
	_, body := s.rest("POST", "/v1/workflows", `{"type":"Order","workflow_id":"taken"}`)
	if got := decode[restError](t, body); got.RunID != run {
		t.Errorf("the conflict names run %q, want %q", got.RunID, run)
	}
}

// refusing is a journal whose Send fails.
type refusing struct {
	journal.Sender
	err error
}

func (r refusing) Send(c events.Envelope, done func(error)) error {
	if events.FromClient(c.Command) {
		return r.err
	}
	return r.Sender.Send(c, done)
}

func TestRESTPassesOverloadOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{journal.ErrFull, http.StatusTooManyRequests, "overloaded", true},
		{journal.ErrDiskFull, http.StatusInsufficientStorage, "disk_full", true},
		{journal.ErrClosed, http.StatusServiceUnavailable, "unavailable", true},
		{errors.New("a secret of the inside"), http.StatusInternalServerError, "internal", false},
	} {
		s := start(t, settings{deps: func(d *gateway.Deps) { d.Sender = refusing{d.Sender, c.err} }})
		w, body := s.rest("POST", "/v1/workflows", `{"type":"Order"}`)
		got := decode[restError](t, body)
		if w != c.status || got.Code != c.code || (got.RetryAfterMs > 0) != c.retry {
			t.Errorf("%v: %d %s", c.err, w, body)
		}
		if strings.Contains(body, "secret") {
			t.Errorf("an internal error is shown to a client: %s", body)
		}
		if c.code == "internal" && !strings.Contains(s.logs.String(), "secret") {
			t.Error("an internal error is not in the log")
		}
	}
}

func TestRESTInlinesJSON(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	input := `{"id": 9007199254740993, "exact": 1.10, "text": "\u00e9<&>", "nested": [null, {"a": 1}]}`
	status, body := s.rest("POST", "/v1/workflows", `{"type":"Order","workflow_id":"rest/1","input":`+input+`}`)
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	d := w.activation()
	records, err := events.DecodeFrame(d.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := records[0].Events[0].(events.RunStarted); !ok || string(e.Input.Data) != input || e.Input.Encoding != "json" {
		t.Errorf("the input arrived as %+v", records[0].Events[0])
	}
	w.progress(d, events.WaitSet{}, events.SetView{Name: "state", Value: payload(input)}, events.CompleteRun{Result: payload(input)})
	_, body = s.rest("GET", "/v1/workflows/rest%2F1/result?wait=10s", "")
	got := decode[struct {
		Outcome struct {
			Status string          `json:"status"`
			Result json.RawMessage `json:"result"`
		} `json:"outcome"`
	}](t, body)
	if string(got.Outcome.Result) != input || got.Outcome.Status != "STATUS_COMPLETED" {
		t.Errorf("result: %s", body)
	}
	_, body = s.rest("GET", "/v1/workflows/rest%2F1/views/state", "")
	if view := decode[struct {
		Value json.RawMessage `json:"value"`
	}](t, body); string(view.Value) != input {
		t.Errorf("view: %s", body)
	}
	_, body = s.rest("GET", "/v1/workflows/rest%2F1", "")
	described := decode[struct {
		Info struct {
			Events uint64          `json:"events"`
			Result json.RawMessage `json:"result"`
		} `json:"info"`
	}](t, body)
	if described.Info.Events == 0 || string(described.Info.Result) != input {
		t.Errorf("describe: %s", body)
	}
}

func TestRESTKeepsOtherEncodings(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	w := s.join(nil)
	if status, body := s.rest("POST", "/v1/workflows",
		`{"type":"Order","workflow_id":"o","input":{"@encoding":"protobuf","@data":"AAEC"}}`); status != http.StatusOK {
		t.Fatal(status, body)
	}
	d := w.activation()
	records, err := events.DecodeFrame(d.GetHistory())
	if err != nil {
		t.Fatal(err)
	}
	e, ok := records[0].Events[0].(events.RunStarted)
	if !ok || e.Input.Encoding != "protobuf" || string(e.Input.Data) != "\x00\x01\x02" {
		t.Errorf("the input arrived as %+v", records[0].Events[0])
	}
	w.progress(d, events.WaitSet{}, events.CompleteRun{Result: e.Input})
	if _, body := s.rest("GET", "/v1/workflows/o/result?wait=10s", ""); !strings.Contains(body, `"result":{"@encoding":"protobuf","@data":"AAEC"}`) {
		t.Errorf("result: %s", body)
	}
}

func TestIdempotencyKeyMakesARequestRepeatable(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	type started struct {
		WorkflowID string `json:"workflow_id"`
		RunID      string `json:"run_id"`
		Started    bool   `json:"started"`
	}
	for _, key := range []string{"order-4711", "0190f0c4-5e6a-7c3e-9d55-0242ac120009"} {
		for _, body := range []string{`{"type":"Order"}`, `{"type":"Order","workflow_id":"with ` + key + `"}`} {
			_, first := s.rest("POST", "/v1/workflows", body, "Idempotency-Key", key)
			_, again := s.rest("POST", "/v1/workflows", body, "Idempotency-Key", key)
			a, b := decode[started](t, first), decode[started](t, again)
			if a.RunID == "" || a != b || !a.Started {
				t.Errorf("%s %s: first %s, then %s", key, body, first, again)
			}
			if len(key) == 36 {
				break // the key is the run id, which only one workflow can have
			}
		}
	}
	run := s.startOrder("signalled", "1").GetRunId()
	for range 3 {
		if status, body := s.rest("POST", "/v1/workflows/signalled/signals/paid", `{"input": 7}`, "Idempotency-Key", "pay-1"); status != http.StatusOK || !strings.Contains(body, run) {
			t.Fatal(status, body)
		}
	}
	_, body := s.rest("GET", "/v1/workflows/signalled/history", "")
	if n := strings.Count(body, `"SignalReceived"`); n != 1 {
		t.Errorf("the run has %d signals, want 1: %s", n, body)
	}
	if status, body := s.rest("POST", "/v1/workflows", `{"type":"Order"}`, "Idempotency-Key", "a b"); status != 400 || !strings.Contains(body, "Idempotency-Key") {
		t.Error(status, body)
	}
}

func TestOpenAPIDocumentSaysWhatIsServed(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	status, body := s.rest("GET", "/openapi.json", "")
	document := decode[struct {
		Swagger     string                                `json:"swagger"`
		Paths       map[string]map[string]json.RawMessage `json:"paths"`
		Definitions map[string]json.RawMessage            `json:"definitions"`
	}](t, body)
	if status != 200 || document.Swagger != "2.0" || len(document.Paths) < 10 {
		t.Fatalf("%d %.200s", status, body)
	}
	for path, methods := range document.Paths {
		for method := range methods {
			concrete := strings.NewReplacer("{workflow_id}", "nobody", "{name}", "n").Replace(path)
			if got, body := s.rest(strings.ToUpper(method), concrete, ""); got == 405 || strings.Contains(body, "there is nothing at") {
				t.Errorf("%s %s is documented and not served: %d %s", method, path, got, body)
			}
		}
	}
	if strings.Contains(body, `"format": "uint64",`+"\n") && strings.Contains(body, `"type": "string",`+"\n"+`          "format": "uint64"`) {
		t.Error("a 64-bit integer is documented as a string")
	}
}

func TestHealthTellsTheTruth(t *testing.T) {
	t.Parallel()
	ready := true
	s := start(t, settings{deps: func(d *gateway.Deps) {
		d.Health = func() []gateway.Component {
			return []gateway.Component{{Name: "disk", Ready: ready, Detail: "1 GiB free"}}
		}
	}})
	s.startOrder("a", "1")
	if status, body := s.rest("GET", "/readyz", ""); status != 200 || !strings.Contains(body, `"disk"`) {
		t.Error(status, body)
	}
	ready = false
	if status, body := s.rest("GET", "/readyz", ""); status != 503 || !strings.Contains(body, `"not ready"`) {
		t.Error(status, body)
	}
	if status, body := s.rest("GET", "/healthz", ""); status != 200 || !strings.Contains(body, "alive") {
		t.Error(status, body)
	}
}

func TestRESTTakesEveryWorkflowID(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	for _, id := range []string{"a/b", "a//b", "../x", ".", "%2F", "ä ö", "a?b#c", "x:cancel", "a+b", `"quoted"`} {
		body, err := json.Marshal(map[string]any{"type": "Order", "workflow_id": id})
		if err != nil {
			t.Fatal(err)
		}
		if status, got := s.rest("POST", "/v1/workflows", string(body)); status != 200 {
			t.Fatal(id, status, got)
		}
		status, got := s.rest("GET", "/v1/workflows/"+strings.ReplaceAll(url.PathEscape(id), "/", "%2F"), "")
		described := decode[struct {
			Info struct {
				WorkflowID string `json:"workflow_id"`
			} `json:"info"`
		}](t, got)
		if status != 200 || described.Info.WorkflowID != id {
			t.Errorf("%q: %d %s", id, status, got)
		}
	}
	if status, body := s.rest("GET", "/v1/workflows/a%00b", ""); status != 400 || !strings.Contains(body, "malformed") {
		t.Error(status, body)
	}
}
