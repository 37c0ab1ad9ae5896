package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// fact is what the driver needs of one event in the history of a run.
type fact struct {
	kind    string // such as "TaskScheduled"
	at      time.Time
	step    uint64
	attempt int
	task    string // of TaskScheduled: the name, such as "billing.PaymentService.Request"
}

// call is one task of a run from the moment it was called to its end, failed attempts and waiting included.
type call struct {
	customer string
	month    int
	service  string // such as "Payment"
	from, to time.Time
	attempts int
}

func (c call) took() time.Duration { return c.to.Sub(c.from) }

// calls reads the ended tasks out of a history, in the order in which they were called. A month begins with the task of
// the first service.
func calls(customer string, history []fact) []call {
	var list []call
	open := map[uint64]int{}
	month := 0
	for _, f := range history {
		switch f.kind {
		case "TaskScheduled":
			service := serviceOf(f.task)
			if service == services[0] {
				month++
			}
			open[f.step] = len(list)
			list = append(list, call{customer: customer, month: month, service: service, from: f.at})
		case "TaskCompleted", "TaskFailed":
			if i, ok := open[f.step]; ok {
				list[i].to, list[i].attempts = f.at, f.attempt
				delete(open, f.step)
			}
		}
	}
	ended := list[:0]
	for _, c := range list {
		if !c.to.IsZero() {
			ended = append(ended, c)
		}
	}
	return ended
}

// services are the columns of the timeline, in the order in which a month calls them.
var services = []string{"Consumption", "Payment", "Invoice", "Email"}

// serviceOf makes "Payment" of "billing.PaymentService.Request".
func serviceOf(task string) string {
	_, rest, _ := strings.Cut(task, ".")
	name, _, _ := strings.Cut(rest, "Service.")
	return name
}

// slowest finds the call that took longest; ok is false when there is none.
func slowest(list []call) (worst call, ok bool) {
	for _, c := range list {
		if !ok || c.took() > worst.took() {
			worst, ok = c, true
		}
	}
	return worst, ok
}

// outage is a time in which a process was not there.
type outage struct {
	name     string
	from, to time.Time // killed and ready again
	replaced time.Time // others do its work; zero when nobody else can
	billing  time.Time // the next charge after to
}

// during names the processes that were gone at some moment between from and to.
func during(outages []outage, from, to time.Time) string {
	var names []string
	for _, o := range outages {
		if o.from.Before(to) && from.Before(o.to) {
			names = append(names, o.name)
		}
	}
	return strings.Join(names, ", ")
}

// longTimeline is how many months are shown one by one.
const longTimeline = 60

// printTimeline writes one line per month of one customer, of many months only those in which something was killed: when it ended, how long each service's task took (with the
// attempts if more than one), and how long after the end of the month everything was done.
func printTimeline(w io.Writer, customer string, list []call, start time.Time, month time.Duration, outages []outage) {
	fmt.Fprintf(w, "\nTimeline of %s, from the history of its run: seconds since the start, and for each task its duration (attempts)\n", customer)
	fmt.Fprintf(w, "  %5s %8s", "month", "ended")
	for _, s := range services {
		fmt.Fprintf(w, " %14s", s)
	}
	fmt.Fprintf(w, " %8s\n", "done")
	long := list[len(list)-1].month > longTimeline
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].month == list[0].month {
			n++
		}
		if !long || during(outages, list[0].from, list[n-1].to) != "" {
			printMonth(w, list[:n], start, month, outages)
		}
		list = list[n:]
	}
	if long {
		fmt.Fprintln(w, "  (The months in which nothing was killed are left out.)")
	}
}

func printMonth(w io.Writer, list []call, start time.Time, month time.Duration, outages []outage) {
	ended := start.Add(time.Duration(list[0].month) * month)
	fmt.Fprintf(w, "  %5d %8.2f", list[0].month, ended.Sub(start).Seconds())
	for _, service := range services {
		cell := "–"
		for _, c := range list {
			if c.service != service {
				continue
			}
			cell = c.took().Round(time.Millisecond).String()
			if c.attempts > 1 {
				cell += fmt.Sprintf(" (%d)", c.attempts)
			}
		}
		fmt.Fprintf(w, " %14s", cell)
	}
	done := list[len(list)-1].to
	fmt.Fprintf(w, " %8.2f", done.Sub(start).Seconds())
	if names := during(outages, list[0].from, done); names != "" {
		fmt.Fprintf(w, "   while killed: %s", names)
	}
	fmt.Fprintln(w)
}
