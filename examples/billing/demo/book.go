package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/monthly"
)

// bill is one month of one customer.
type bill struct {
	customer string
	month    int
}

// charge is one line of the payment service's ledger.
type charge struct {
	ID          int64  `json:"id"`
	Customer    string `json:"customer"`
	Month       int    `json:"month"`
	AmountCents int    `json:"amount_cents"`
	Repeats     int    `json:"repeats"` // calls that were answered from the idempotency key
}

// book is what the driver expects, written down without looking at the suite: the amount due for each bill.
type book map[bill]int

// comparison is the book beside the ledger. Every slice is sorted by customer and month.
type comparison struct {
	due     int    // bills in the book
	charged int    // bills in the book that were charged at least once
	repeats int    // calls that the payment service answered from the key, without a charge
	twice   []bill // charged more than once
	missed  []bill // due and never charged
	notDue  []bill // charged although not in the book
	amount  []bill // charged with another amount than the book has
}

// compare looks at every line of the ledger and every bill of the book.
func (b book) compare(ledger []charge) comparison {
	c := comparison{due: len(b)}
	times := map[bill]int{}
	for _, line := range ledger {
		this := bill{line.Customer, line.Month}
		times[this]++
		c.repeats += line.Repeats
		due, ok := b[this]
		switch {
		case times[this] == 2:
			c.twice = append(c.twice, this)
		case times[this] > 2: // counted already
		case !ok:
			c.notDue = append(c.notDue, this)
		default:
			c.charged++
		}
		if ok && line.AmountCents != due && !slices.Contains(c.amount, this) {
			c.amount = append(c.amount, this)
		}
	}
	for this := range b {
		if times[this] == 0 {
			c.missed = append(c.missed, this)
		}
	}
	for _, list := range [][]bill{c.twice, c.missed, c.notDue, c.amount} {
		slices.SortFunc(list, func(x, y bill) int { return cmp.Or(cmp.Compare(x.customer, y.customer), cmp.Compare(x.month, y.month)) })
	}
	return c
}

// statement is what the run of a customer should say at its end.
func (b book) statement(customer string) monthly.Statement {
	var s monthly.Statement
	for this, amount := range b {
		if this.customer == customer {
			s.LastMonth = max(s.LastMonth, billing.Month(this.month))
			s.TotalCents += amount
		}
	}
	return s
}

// same says whether book and ledger agree.
func (c comparison) same() bool {
	return c.charged == c.due && len(c.twice)+len(c.missed)+len(c.notDue)+len(c.amount) == 0
}

// print writes one line per number, and the bills behind every number that should be 0.
func (c comparison) print(w io.Writer) {
	fmt.Fprintln(w, "The driver's book and the payment service's ledger")
	line := func(label string, n int) { fmt.Fprintf(w, "  %-46s %6d\n", label, n) }
	line("months due", c.due)
	line("months charged", c.charged)
	for _, wrong := range []struct {
		label string
		bills []bill
	}{{"charged twice", c.twice}, {"missed", c.missed}, {"charged although not due", c.notDue}, {"charged with a wrong amount", c.amount}} {
		line(wrong.label, len(wrong.bills))
		for i, b := range wrong.bills {
			if i == 10 {
				fmt.Fprintf(w, "      … and %d more\n", len(wrong.bills)-i)
				break
			}
			fmt.Fprintf(w, "      %s, month %d\n", b.customer, b.month)
		}
	}
	line("repeated calls answered from the key", c.repeats)
}
