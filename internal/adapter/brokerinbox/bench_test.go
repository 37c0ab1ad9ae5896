package brokerinbox_test

import (
	"context"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/inbox"
)

// BenchmarkRoundTrip delivers one task, takes it and reports its place free again, over a broker in memory.
func BenchmarkRoundTrip(b *testing.B) {
	broker, w := memory.NewBroker(memory.BrokerOptions{Partitions: 4}), newTown()
	scheduler, gateway := start(b, broker, w, 1, "scheduler", true), start(b, broker, w, 2, gatewayRole, false)
	mailbox, err := gateway.Open(b.Context(), 20)
	if err != nil {
		b.Fatal(err)
	}
	_ = gateway.Report(inbox.Report{Session: 20, Joined: []inbox.Worker{{Session: 20, ID: "w", Queue: "q", TaskSlots: 100}}})
	reports, err := scheduler.Reports(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer reports.Close()
	settled{b, gateway, scheduler}.settle()
	for reports.Take(100) != nil {
	}
	for b.Loop() {
		if err := scheduler.Deliver(20, []inbox.Delivery{task("w", 1)}); err != nil {
			b.Fatal(err)
		}
		for mailbox.Take(1) == nil {
			<-mailbox.Ready()
		}
		_ = gateway.Report(inbox.Report{Session: 20, Credits: []inbox.Credit{{Worker: "w", Tasks: 1}}})
		for reports.Take(1) == nil {
			<-reports.Ready()
		}
	}
}
