package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDoneTasksAreThoseOfBilling(t *testing.T) {
	t.Parallel()
	got, err := doneTasks([]byte(`{"rows": [
		{"start": null, "type": "billing.Monthly", "task": "billing.PaymentService.Request", "done": 41, "failed": 0},
		{"start": null, "type": "billing.Monthly", "task": "billing.EmailService.Send", "done": 40, "failed": 2},
		{"start": null, "type": "other.Type", "task": "billing.EmailService.Send", "done": 7, "failed": 0}]}`))
	if want := map[string]int{"Payment": 41, "Email": 40}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := doneTasks([]byte("no server")); err == nil {
		t.Error("what is no answer was read")
	}
}

// What the driver sees of two schedulers, one of which stands by, and of the metrics of an engine.
func TestWhoWorks(t *testing.T) {
	t.Parallel()
	serve := func(ready, metrics string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := ready
			if r.URL.Path == "/metrics" {
				body = metrics
			}
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	first, second := &process{name: "scheduler-1"}, &process{name: "scheduler-2"}
	c := &cluster{services: map[string][2]*process{"scheduler": {first, second}, "engine": {second, first}}, http: map[*process]string{
		first:  serve(`{"status":"ready","components":[{"name":"scheduler","ready":true,"detail":"stands by"},{"name":"log","ready":true,"detail":"16 partitions are followed"}]}`, "# HELP some text\nsome_total 3\n"),
		second: serve(`{"status":"ready","components":[{"name":"scheduler","ready":true,"detail":"works"}]}`, "continuo_engine_partitions_running 16\n"),
	}}
	if got, err := c.working("scheduler")(t.Context()); err != nil || got != second {
		t.Errorf("found %v, %v, want the second", got, err)
	}
	if works := c.otherWorks("scheduler"); !works(t.Context(), first) || works(t.Context(), second) {
		t.Error("the one that stands by counts as working, or the one that works does not")
	}
	if !c.allPartitionsRun(t.Context(), first) || c.allPartitionsRun(t.Context(), second) {
		t.Error("the partitions of the engine that is left are not read")
	}
}
