// Package flow is what workflow code is written with.
//
// A workflow is a Go function that pilots services through a durable log. It reads like the controller that it replaces,
// survives the crash of anything, and is nothing but control flow: what it calls is done by tasks.
//
//	func BillMonthly(ctx flow.Context, sub Subscription) (flow.None, error) {
//		left := Unsubscribed.Next(ctx)
//		for month := sub.Start; ; month = next(month) {
//			if flow.First(ctx, left, flow.At(ctx, next(month))) == left {
//				return flow.None{}, nil
//			}
//			usage, err := flow.Call(ctx, ConsumptionService.Get, Period{sub.Customer, month})
//			if err != nil {
//				return flow.None{}, fmt.Errorf("consumption: %w", err)
//			}
//			…
//		}
//	}
//
// Definitions are values, and their methods are the verbs: a [Task] is called, a [Workflow] is started and continues, a
// [Signal] is sent and awaited, a [View] is set and read. Services are Go interfaces, called by method expressions ([Call],
// [Do], [Method], [Action]) and bound with [Service].
//
// # What workflow code may do
//
// The code runs again from its start, or its last [Workflow.Continue], whenever no worker has the run in memory: recorded
// outcomes are given to it in their order, and it must do the same again. So it uses [Now], [Rand], [NewID], [Sleep], [Go] and
// [Log] in place of time.Now, math/rand, time.Sleep, go and log, does no I/O outside of [Step], and does not range over a
// map where order matters. Code that does something else than before is stopped with a message that names the event, the
// call that was wanted, the call that was found and its source line; its run waits for code that fits.
//
// A panic of workflow code is a bug, not an outcome: the run waits for better code, too, and what deferred functions call
// while the panic unwinds them has no effect. Return an error to end a run as failed.
//
// When a worker needs the memory, or stops, code that waits is unwound: its deferred functions run, and what they call has no
// effect and returns an error.
package flow
