package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// twoMonths is a history in which the payment of month 2 took three attempts and the last task is still open.
var twoMonths = []fact{
	{kind: "RunStarted", at: ms(0)},
	{kind: "TaskScheduled", at: ms(200), step: 2, task: "billing.ConsumptionService.Get"},
	{kind: "TaskCompleted", at: ms(205), step: 2, attempt: 1},
	{kind: "TaskScheduled", at: ms(205), step: 3, task: "billing.PaymentService.Request"},
	{kind: "TaskCompleted", at: ms(230), step: 3, attempt: 1},
	{kind: "TaskScheduled", at: ms(400), step: 5, task: "billing.ConsumptionService.Get"},
	{kind: "TaskCompleted", at: ms(404), step: 5, attempt: 1},
	{kind: "TaskScheduled", at: ms(404), step: 6, task: "billing.PaymentService.Request"},
	{kind: "TaskAttemptFailed", at: ms(420), step: 6, attempt: 1},
	{kind: "TaskAttemptFailed", at: ms(620), step: 6, attempt: 2},
	{kind: "TaskCompleted", at: ms(1004), step: 6, attempt: 3},
	{kind: "TaskScheduled", at: ms(1004), step: 7, task: "billing.InvoiceService.Create"},
}

func TestSlowest(t *testing.T) {
	t.Parallel()
	worst, ok := slowest(calls("ada", twoMonths))
	want := call{customer: "ada", month: 2, service: "Payment", from: ms(404), to: ms(1004), attempts: 3}
	if !ok || worst != want {
		t.Errorf("slowest %+v, %v, want %+v", worst, ok, want)
	}
	if _, ok := slowest(nil); ok {
		t.Error("no calls have a slowest one")
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	printTimeline(&text, "ada", calls("ada", twoMonths), epoch, 200*time.Millisecond, []outage{{name: "server", from: ms(500), to: ms(600)}, {name: "payment-service", from: ms(240), to: ms(390)}})
	folded := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"month ended Consumption Payment Invoice Email done",
		"1 0.20 5ms 25ms – – 0.23 2 0.40 4ms 600ms (3) – – 1.00 while killed: server",
	} {
		if !strings.Contains(folded, want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(folded, "payment-service") {
		t.Errorf("an outage between two months is shown in\n%s", text.String())
	}
}

func TestFactsOfAHistory(t *testing.T) {
	t.Parallel()
	got := factsOf([]*events.Record{
		{Header: events.Header{Time: events.TimeOf(ms(1)), First: 1}, Events: []events.Event{
			events.RunStarted{}, events.TaskScheduled{Step: 2, Name: "billing.PaymentService.Request"},
		}},
		{Header: events.Header{Time: events.TimeOf(ms(5)), First: 3}, Events: []events.Event{events.TaskCompleted{Step: 2, Attempt: 3}}},
	})
	want := []fact{
		{kind: "RunStarted", at: ms(1)},
		{kind: "TaskScheduled", at: ms(1), step: 2, task: "billing.PaymentService.Request"},
		{kind: "TaskCompleted", at: ms(5), step: 2, attempt: 3},
	}
	if !slices.Equal(got, want) {
		t.Errorf("facts %+v, want %+v", got, want)
	}
}
