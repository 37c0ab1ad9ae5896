package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/monthly"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

// scenario is what the demo does to the world.
type scenario struct {
	customers   int
	months      int
	month       time.Duration
	failPercent int
	cluster     bool
}

// notice is how many months before the last one customers unsubscribe. It must be long enough for all signals to
// arrive before that month ends: what was billed before a signal came cannot be taken back.
const notice = 10

// play is one performance of a scenario.
type play struct {
	scenario
	world  *world
	client *client.Client
	out    io.Writer

	start    time.Time
	runs     map[string]flow.Run[monthly.Statement] // by customer
	until    int
	outages  []outage
	failures int64 // calls that services failed because they were told to
}

// perform subscribes, lets things go wrong, unsubscribes, and gives what the runs say they have billed.
func (p *play) perform(ctx context.Context) (map[string]monthly.Statement, error) {
	if err := p.world.failing(ctx, p.failPercent); err != nil {
		return nil, err
	}
	if err := p.subscribe(ctx); err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(watching)
	}()
	defer func() {
		stop()
		<-watched
	}()
	for _, victim := range p.world.victims {
		if err := p.outage(ctx, victim); err != nil {
			return nil, err
		}
	}
	if err := p.unsubscribe(ctx); err != nil {
		return nil, err
	}
	statements := map[string]monthly.Statement{}
	for _, customer := range p.names() {
		statement, err := p.runs[customer].Result(ctx)
		if err != nil {
			return nil, fmt.Errorf("result of %s: %w", customer, reason(ctx, err))
		}
		statements[customer] = statement
	}
	return statements, p.countFailures(ctx, p.world.consumption, p.world.payment, p.world.invoice, p.world.email)
}

func (p *play) names() []string {
	names := make([]string, p.customers)
	for i := range names {
		names[i] = fmt.Sprintf("customer-%02d", i+1)
	}
	return names
}

func (p *play) subscribe(ctx context.Context) error {
	p.start, p.runs = time.Now(), map[string]flow.Run[monthly.Statement]{}
	for _, customer := range p.names() {
		run, err := monthly.Billing.Start(ctx, p.client,
			monthly.Subscription{Customer: customer, Start: p.start, MonthLength: p.month}, flow.ID("billing/"+customer))
		if err != nil {
			return fmt.Errorf("subscribe %s: %w", customer, reason(ctx, err))
		}
		p.runs[customer] = run
	}
	fmt.Fprintf(p.out, "Subscribed %d customers; a month lasts %v, %d %% of all calls fail.\n", p.customers, p.month, p.failPercent)
	return nil
}

// outage kills a process while it has work, leaves it dead for two months, or until others do its work if they can, starts it
// again, and waits until billing goes on.
func (p *play) outage(ctx context.Context, next victim) error {
	if err := p.billMore(ctx, p.customers); err != nil {
		return err
	}
	victim, err := next.who(ctx)
	if err != nil {
		return err
	}
	if err := p.countFailures(ctx, victim); err != nil {
		return err
	}
	gone := outage{name: victim.name, from: time.Now()}
	if err := p.world.kill(victim); err != nil {
		return err
	}
	if next.replaced != nil {
		others := func(ctx context.Context) bool { return next.replaced(ctx, victim) }
		if err := until(ctx, 20*time.Second, "others to do the work of "+victim.name, others); err != nil {
			return err
		}
		gone.replaced = time.Now()
	} else if err := sleep(ctx, 2*p.month); err != nil {
		return err
	}
	if err := p.world.start(ctx, victim); err != nil {
		return err
	}
	victim.restarts++
	gone.to = time.Now()
	p.outages = append(p.outages, gone)
	if err := p.billMore(ctx, 1); err != nil {
		return err
	}
	p.outages[len(p.outages)-1].billing = time.Now()
	return nil
}

// billMore waits until n more charges are in the ledger.
func (p *play) billMore(ctx context.Context, n int) error {
	before, err := p.world.ledger(ctx, 0)
	if err != nil {
		return err
	}
	return until(ctx, time.Minute, fmt.Sprintf("%d more charges", n), func(ctx context.Context) bool {
		more, err := p.world.ledger(ctx, int64(len(before)))
		return err == nil && len(more) >= n
	})
}

// unsubscribe ends all subscriptions with the same month: the last one of the scenario, or a later one when the machine
// was too slow for that.
func (p *play) unsubscribe(ctx context.Context) error {
	if err := sleep(ctx, time.Until(p.start.Add(time.Duration(p.months-notice)*p.month))); err != nil {
		return err
	}
	p.until = int(time.Since(p.start)/p.month) + notice
	for _, customer := range p.names() {
		err := monthly.Unsubscribed.Send(ctx, p.client, p.runs[customer].ID(), monthly.Unsubscription{Until: billing.Month(p.until)})
		if err != nil {
			return fmt.Errorf("unsubscribe %s: %w", customer, reason(ctx, err))
		}
	}
	if late := time.Since(p.start.Add(time.Duration(p.until) * p.month)); late > 0 {
		return fmt.Errorf("the unsubscriptions until month %d took %v longer than that month: the machine is too slow for months of %v, try --month",
			p.until, late.Round(time.Millisecond), p.month)
	}
	fmt.Fprintf(p.out, "Unsubscribed all with the end of month %d.\n", p.until)
	return nil
}

// countFailures adds what the living processes among ps, if they are services, failed on purpose in this life.
func (p *play) countFailures(ctx context.Context, ps ...*process) error {
	for _, each := range ps {
		url, ok := p.world.urls[each]
		if !ok {
			continue
		}
		var stats struct {
			Before int64 `json:"failed_before"`
			After  int64 `json:"failed_after"`
		}
		if err := ask(ctx, http.MethodGet, url+"/stats", nil, &stats); err != nil {
			return err
		}
		p.failures += stats.Before + stats.After
	}
	return nil
}

// watch shows how far billing is, until ctx ends.
func (p *play) watch(ctx context.Context) {
	var charges int
	line := newProgress(p.out)
	defer line.end()
	tick := time.NewTicker(line.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		state := ""
		if more, err := p.world.ledger(ctx, int64(charges)); err == nil {
			charges += len(more)
		} else {
			state = "   (the payment service does not answer)"
		}
		passed := time.Since(p.start)
		line.show(fmt.Sprintf("%5.1f s   month %3d   %4d charges%s", passed.Seconds(), int(passed/p.month)+1, charges, state))
	}
}

// reason gives the cause of ctx's end instead of err when that is why err happened.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
