package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/examples/billing/monthly"
)

// report compares the driver's book with the ledger and with the runs' own statements, and prints what happened. Any
// difference is an error.
func (p *play) report(ctx context.Context, statements map[string]monthly.Statement) error {
	if err := p.world.failing(ctx, 0); err != nil {
		return err
	}
	due, err := p.book(ctx)
	if err != nil {
		return err
	}
	ledger, err := p.world.ledger(ctx, 0)
	if err != nil {
		return err
	}
	compared := due.compare(ledger)
	fmt.Fprintln(p.out)
	compared.print(p.out)
	fmt.Fprintf(p.out, "  %-46s %6d\n", "calls that failed on purpose, at least", p.failures)
	p.printRestarts()
	if p.world.statistics != nil {
		if err := p.world.statistics(ctx, p.out, ledger); err != nil {
			return err
		}
	}
	if err := p.printHistories(ctx); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "\nAll done %.1f s after the first subscription.\n", time.Since(p.start).Seconds())

	var wrong error
	if !compared.same() {
		wrong = errors.New("the payment service's ledger differs from the book")
	}
	for _, customer := range p.names() {
		if want := due.statement(customer); statements[customer] != want {
			wrong = errors.Join(wrong, fmt.Errorf("%s: the run says it billed %+v, the book has %+v", customer, statements[customer], want))
		}
	}
	return wrong
}

// book writes down what is due: every month of every customer until the one of the unsubscription, at the price that
// the consumption service names.
func (p *play) book(ctx context.Context) (book, error) {
	due := book{}
	for _, customer := range p.names() {
		for month := 1; month <= p.until; month++ {
			this := bill{customer, month}
			amount, err := p.world.amount(ctx, this)
			if err != nil {
				return nil, err
			}
			due[this] = amount
		}
	}
	return due, nil
}

func (p *play) printRestarts() {
	fmt.Fprintf(p.out, "\n%d processes killed with SIGKILL and started again\n", len(p.outages))
	if p.cluster {
		p.printTakeOvers()
		return
	}
	fmt.Fprintf(p.out, "  %-18s %10s %14s %14s\n", "process", "killed at", "ready after", "next charge")
	for _, o := range p.outages {
		fmt.Fprintf(p.out, "  %-18s %8.2f s %12.2f s %12.2f s\n", o.name,
			o.from.Sub(p.start).Seconds(), o.to.Sub(o.from).Seconds(), o.billing.Sub(o.from).Seconds())
	}
}

// printTakeOvers is printRestarts where others may take over what the killed did.
func (p *play) printTakeOvers() {
	fmt.Fprintf(p.out, "  %-18s %10s %18s %14s %14s\n", "process", "killed at", "taken over after", "ready after", "next charge")
	for _, o := range p.outages {
		taken := "–"
		if !o.replaced.IsZero() {
			taken = fmt.Sprintf("%.2f s", o.replaced.Sub(o.from).Seconds())
		}
		fmt.Fprintf(p.out, "  %-18s %8.2f s %18s %12.2f s %12.2f s\n", o.name,
			o.from.Sub(p.start).Seconds(), taken, o.to.Sub(o.from).Seconds(), o.billing.Sub(o.from).Seconds())
	}
}

// printHistories reads the histories of all runs, and prints the slowest step of all and the timeline of its run.
func (p *play) printHistories(ctx context.Context) error {
	all := map[string][]call{}
	var every []call
	for _, customer := range p.names() {
		history, err := p.history(ctx, customer)
		if err != nil {
			return fmt.Errorf("history of %s: %w", customer, err)
		}
		all[customer] = calls(customer, history)
		every = append(every, all[customer]...)
	}
	worst, ok := slowest(every)
	if !ok {
		return errors.New("the histories have no tasks")
	}
	fmt.Fprintf(p.out, "\nThe slowest of %d steps: %s for month %d of %s took %v and %d attempts", len(every),
		worst.service, worst.month, worst.customer, worst.took().Round(time.Millisecond), worst.attempts)
	if names := during(p.outages, worst.from, worst.to); names != "" {
		fmt.Fprintf(p.out, " (meanwhile killed: %s)", names)
	}
	fmt.Fprintln(p.out, ".")
	printTimeline(p.out, worst.customer, all[worst.customer], p.start, p.month, p.outages)
	return nil
}
