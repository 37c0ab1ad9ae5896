package monthly_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/monthly"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/flowtest"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// world is the four services in memory, in a test's virtual time.
type world struct {
	env      *flowtest.Env
	usage    []time.Time // when the consumption of each month was asked for first
	charged  []billing.Charge
	invoices int
	emails   []billing.Email
	calls    int
	// fail says how a task ends before it does its work; nil means no task fails.
	fail func(service string, month billing.Month, attempt events.Attempt) error
}

func newWorld(t *testing.T, start time.Time) *world {
	t.Helper()
	w := &world{}
	w.env = flowtest.NewWith(t, flowtest.Options{Start: start},
		monthly.Billing.With(monthly.Bill),
		flow.Service[billing.ConsumptionService](consumption{w}),
		flow.Service[billing.PaymentService](payment{w}),
		flow.Service[billing.InvoiceService](invoice{w}),
		flow.Service[billing.EmailService](email{w}))
	return w
}

func (w *world) subscribe(t *testing.T, monthLength time.Duration) flow.Run[monthly.Statement] {
	t.Helper()
	run, err := monthly.Billing.Start(t.Context(), w.env,
		monthly.Subscription{Customer: "ada", Start: w.env.Now(), MonthLength: monthLength}, flow.ID("billing-ada"))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (w *world) unsubscribe(t *testing.T, until billing.Month) {
	t.Helper()
	if err := monthly.Unsubscribed.Send(t.Context(), w.env, "billing-ada", monthly.Unsubscription{Until: until}); err != nil {
		t.Fatal(err)
	}
}

// check compares what the services saw with a subscription that was billed for all months to the last.
func (w *world) check(t *testing.T, run flow.Run[monthly.Statement], last billing.Month) {
	t.Helper()
	statement, err := run.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (monthly.Statement{LastMonth: last, TotalCents: int(last*(last+1)) / 2}); statement != want {
		t.Errorf("statement %+v, want %+v", statement, want)
	}
	if len(w.charged) != int(last) || w.invoices != int(last) || len(w.emails) != int(last) {
		t.Fatalf("%d charges, %d invoices, %d emails, want %d of each", len(w.charged), w.invoices, len(w.emails), last)
	}
	for i, c := range w.charged {
		month := billing.Month(i + 1)
		if want := (billing.Charge{Customer: "ada", Month: month, AmountCents: int(month)}); c != want {
			t.Errorf("charge %+v, want %+v", c, want)
		}
		if want := fmt.Sprintf("Your invoice INV-ch_%d", month); w.emails[i].Subject != want {
			t.Errorf("email %q, want %q", w.emails[i].Subject, want)
		}
	}
}

func (w *world) call(ctx context.Context, service string, month billing.Month) error {
	w.calls++
	if w.fail == nil {
		return nil
	}
	return w.fail(service, month, task.Info(ctx).Attempt)
}

type (
	consumption struct{ *world }
	payment     struct{ *world }
	invoice     struct{ *world }
	email       struct{ *world }
)

func (w consumption) Get(ctx context.Context, p billing.Period) (billing.Usage, error) {
	if task.Info(ctx).Attempt == 1 {
		w.usage = append(w.usage, w.env.Now())
	}
	return billing.Usage{AmountCents: int(p.Month)}, w.call(ctx, "consumption", p.Month)
}

func (w payment) Request(ctx context.Context, c billing.Charge) (billing.Payment, error) {
	if err := w.call(ctx, "payment", c.Month); err != nil {
		return billing.Payment{}, err
	}
	w.charged = append(w.charged, c)
	return billing.Payment{ID: fmt.Sprint("ch_", c.Month), AmountCents: c.AmountCents}, nil
}

func (w invoice) Create(ctx context.Context, o billing.Order) (billing.Invoice, error) {
	if err := w.call(ctx, "invoice", o.Month); err != nil {
		return billing.Invoice{}, err
	}
	w.invoices++
	return billing.Invoice{Number: "INV-" + o.PaymentID}, nil
}

func (w email) Send(ctx context.Context, e billing.Email) error {
	if err := w.call(ctx, "email", billing.Month(len(w.emails)+1)); err != nil {
		return err
	}
	w.emails = append(w.emails, e)
	return nil
}

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const month = 30 * 24 * time.Hour

// Ten years of calendar months in which each seventh call fails: every month is charged once, and the history that a
// replay reads does not grow with the years.
func TestTenYears(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newYear)
	failed := 0
	w.fail = func(string, billing.Month, events.Attempt) error {
		if w.calls%7 == 0 {
			failed++
			return errors.New("503 Service Unavailable")
		}
		return nil
	}
	run := w.subscribe(t, 0)
	w.env.AdvanceTo(newYear.AddDate(10, 0, 5))
	if last, err := monthly.LastBilled.Get(t.Context(), w.env, run.ID()); err != nil || last != 120 {
		t.Fatalf("last billed month %d, %v, want 120", last, err)
	}
	w.unsubscribe(t, 120)
	w.check(t, run, 120)
	if failed < 70 {
		t.Errorf("only %d calls failed: the test shows nothing", failed)
	}

	_, records, err := events.UnmarshalHistory(w.env.History(run.ID()))
	if err != nil {
		t.Fatal(err)
	}
	years, longest, length := 0, 0, 0
	for _, r := range records {
		for _, e := range r.Events {
			length++
			if _, ok := e.(events.RunContinued); ok {
				years, length = years+1, 0
			}
			longest = max(longest, length)
		}
	}
	if years != 10 || longest > 350 {
		t.Errorf("the code began again %d times and replays up to %d events, want 10 times and at most 350", years, longest)
	}
}

func TestCalendarMonths(t *testing.T) {
	t.Parallel()
	start := time.Date(2027, 10, 31, 9, 30, 0, 0, time.UTC)
	w := newWorld(t, start)
	run := w.subscribe(t, 0)
	w.unsubscribe(t, 6)
	w.check(t, run, 6)
	want := "11-30 12-31 01-31 02-29 03-31 04-30"
	var got []string
	for _, at := range w.usage {
		got = append(got, at.Format("01-02"))
		if at.Format("15:04") != "09:30" {
			t.Errorf("a month ended at %v, want 9:30 as the subscription began", at)
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("months ended on %v, want %s", got, want)
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		after  time.Duration // when the signal comes
		until  billing.Month
		billed billing.Month
		ends   time.Duration
	}{
		{"before anything was used", 0, 0, 0, 0},
		{"with this month", 4*month + time.Hour, 5, 5, 5 * month},
		{"with a later month", 4*month + time.Hour, 8, 8, 8 * month},
		{"in another year", 4*month + time.Hour, 27, 27, 27 * month},
		{"with the end of a year", 4*month + time.Hour, 12, 12, 12 * month},
		{"with a month that is over and billed", 4*month + time.Hour, 4, 4, 4*month + time.Hour},
		{"with a month long ago", 4*month + time.Hour, 2, 4, 4*month + time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, newYear)
			run := w.subscribe(t, month)
			w.env.Advance(c.after)
			w.unsubscribe(t, c.until)
			w.check(t, run, c.billed)
			if took := w.env.Now().Sub(newYear); took != c.ends {
				t.Errorf("the run ended after %v, want %v", took, c.ends)
			}
		})
	}
}

// The payment service is down for five months, of an hour each. The customer leaves meanwhile: what was due is billed
// late, and no more.
func TestUnsubscribeWhileBillingIsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newYear)
	down := true
	w.fail = func(service string, m billing.Month, _ events.Attempt) error {
		if service == "payment" && m >= 3 && down {
			return errors.New("connection refused")
		}
		return nil
	}
	run := w.subscribe(t, time.Hour)
	w.env.Advance(7*time.Hour + 30*time.Minute)
	w.unsubscribe(t, 6)
	w.env.Advance(30 * time.Minute)
	if len(w.charged) != 2 {
		t.Fatalf("%d charges while the service was down, want those before", len(w.charged))
	}
	down = false
	w.check(t, run, 6)
	if late := w.env.Now().Sub(newYear.Add(8 * time.Hour)); late > 2*time.Minute {
		t.Errorf("the run ended %v after the service was up again: months that are over are billed at once", late)
	}
}

// The signal comes during the last task of a year, after which the code begins again.
func TestUnsubscribeAtTheTurnOfAYear(t *testing.T) {
	t.Parallel()
	for until, billed := range map[billing.Month]billing.Month{11: 12, 12: 12, 13: 13} {
		w := newWorld(t, newYear)
		w.fail = func(service string, m billing.Month, attempt events.Attempt) error {
			if service == "email" && m == 12 && attempt == 1 {
				return errors.New("mailbox busy")
			}
			return nil
		}
		run := w.subscribe(t, month)
		w.env.Advance(12 * month)
		if len(w.charged) != 12 || len(w.emails) != 11 {
			t.Fatalf("%d charges and %d emails, want the last email to wait for another attempt", len(w.charged), len(w.emails))
		}
		w.unsubscribe(t, until)
		w.check(t, run, billed)
	}
}

func TestARefusalEndsTheRunAndSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newYear)
	w.fail = func(service string, m billing.Month, _ events.Attempt) error {
		if service == "payment" && m == 2 {
			return task.Permanent(errors.New("the card was declined"))
		}
		return nil
	}
	run := w.subscribe(t, month)
	_, err := run.Result(t.Context())
	var failed *flow.RunError
	if !errors.As(err, &failed) || failed.Status != events.StatusFailed {
		t.Fatalf("result %v, want a failed run", err)
	}
	for _, want := range []string{"payment for month 2", "billing.PaymentService.Request", "the card was declined"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if len(w.charged) != 1 {
		t.Errorf("%d charges, want that of month 1", len(w.charged))
	}
}
