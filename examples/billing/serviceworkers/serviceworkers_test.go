package serviceworkers_test

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/consumption"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/email"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/invoice"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/payment"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// taskID is the task that the tests' calls belong to.
var taskID = events.TaskID{Run: events.MakeRunID(1, [10]byte{}), Step: 7}

func taskContext(t *testing.T) context.Context {
	t.Helper()
	return task.NewContext(t.Context(), task.Execution{ID: taskID, Attempt: 2}, payload.Converter{}, nil)
}

// service answers every request alike and keeps the last one as "METHOD path key body".
func service(t *testing.T, status int, header, answer string) (url string, last *string) {
	t.Helper()
	last = new(string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*last = strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL.EscapedPath(), r.Header.Get("Idempotency-Key"), body))
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func TestEachMethodCallsItsAPI(t *testing.T) {
	t.Parallel()
	key := taskID.String()
	for _, c := range []struct {
		name, answer, request string
		call                  func(ctx context.Context, url string) (any, error)
		want                  any
	}{
		{
			"consumption", `{"customer":"a/b","month":3,"units":2,"amount_cents":30}`, `GET /customers/a%2Fb/usage/3`,
			func(ctx context.Context, url string) (any, error) {
				return consumption.New(url).Get(ctx, billing.Period{Customer: "a/b", Month: 3})
			},
			billing.Usage{Units: 2, AmountCents: 30},
		},
		{
			"payment", `{"id":"ch_1","amount_cents":30}`, `POST /charges ` + key + ` {"customer":"ada","month":3,"amount_cents":30}`,
			func(ctx context.Context, url string) (any, error) {
				return payment.New(url).Request(ctx, billing.Charge{Customer: "ada", Month: 3, AmountCents: 30})
			},
			billing.Payment{ID: "ch_1", AmountCents: 30},
		},
		{
			"invoice", `{"number":"INV-1"}`, `POST /invoices ` + key + ` {"customer":"ada","month":3,"amount_cents":30,"payment":"ch_1"}`,
			func(ctx context.Context, url string) (any, error) {
				return invoice.New(url).Create(ctx, billing.Order{Customer: "ada", Month: 3, AmountCents: 30, PaymentID: "ch_1"})
			},
			billing.Invoice{Number: "INV-1"},
		},
		{
			"email", `{"id":"em_1"}`, `POST /emails ` + key + ` {"customer":"ada","subject":"s","body":"b"}`,
			func(ctx context.Context, url string) (any, error) {
				return nil, email.New(url).Send(ctx, billing.Email{Customer: "ada", Subject: "s", Body: "b"})
			},
			nil,
		},
	} {
		url, last := service(t, http.StatusCreated, "", c.answer)
		got, err := c.call(taskContext(t), url)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
		if *last != c.request {
			t.Errorf("%s: the service was asked\n%s\nwant\n%s", c.name, *last, c.request)
		}
	}
}

func TestOutsideOfATaskThereIsNoKey(t *testing.T) {
	t.Parallel()
	url, last := service(t, http.StatusCreated, "", `{}`)
	if err := email.New(url).Send(t.Context(), billing.Email{}); err != nil {
		t.Fatal(err)
	}
	if want := `POST /emails  {"customer":"","subject":"","body":""}`; *last != want {
		t.Errorf("asked %q, want %q", *last, want)
	}
}

func TestWhichAnswersAreTriedAgain(t *testing.T) {
	t.Parallel()
	const policyChooses = -1
	for _, c := range []struct {
		status    int
		header    string
		permanent bool
		delay     time.Duration
	}{
		{500, "", false, policyChooses},
		{503, "", false, policyChooses},
		{503, "Retry-After: 7", false, 7 * time.Second},
		{408, "", false, policyChooses},
		{429, "Retry-After: 60", false, time.Minute},
		{400, "", true, policyChooses},
		{404, "", true, policyChooses},
		{422, "Retry-After: 7", true, policyChooses},
		{200, "", false, policyChooses}, // and an answer that is no JSON
	} {
		url, _ := service(t, c.status, c.header, `{"error":"the service's words"`+strings.Repeat("}", min(1, c.status/300)))
		_, err := payment.New(url).Request(taskContext(t), billing.Charge{})
		if err == nil {
			t.Errorf("%d: no error", c.status)
			continue
		}
		failure := task.FailureOf(err, events.CodeTaskFailed, payload.Converter{})
		if failure.NonRetryable != c.permanent || task.RetryDelay(err) != c.delay {
			t.Errorf("%d %s: permanent=%v after %v, want %v after %v", c.status, c.header, failure.NonRetryable, task.RetryDelay(err), c.permanent, c.delay)
		}
		if c.status >= 300 && !strings.Contains(err.Error(), "the service's words") {
			t.Errorf("%d: %v does not say why", c.status, err)
		}
	}
}

func TestNoAnswerIsTriedAgain(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer server.Close()
	_, err := payment.New(server.URL).Request(taskContext(t), billing.Charge{})
	if err == nil || task.FailureOf(err, events.CodeTaskFailed, payload.Converter{}).NonRetryable {
		t.Errorf("a connection without an answer gave %v, want an error that is tried again", err)
	}
	ctx, cancel := context.WithCancel(taskContext(t))
	cancel()
	if _, err := payment.New(server.URL).Request(ctx, billing.Charge{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled task gave %v", err)
	}
}

// A service worker knows its own contract and the way to call an API: no other service, and no process.
func TestServicesKnowNeitherTheProcessNorEachOther(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			_, inside, ours := strings.Cut(path, "/examples/billing")
			if ours && inside != "" && inside != "/serviceworkers/api" {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}
