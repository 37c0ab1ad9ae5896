// Package sessions is what a gateway decides: which worker holds which attempt and until when, what is given back when a
// worker goes, which command is sent again, who waits for which answer and for the end of which run.
//
// It is pure and single-threaded. A [Core] is given inputs and the time, and returns outputs; the shell (services/gateway)
// has the streams, the ports and the clock:
//
//	worker streams ──┐                    ┌──▶ worker streams: hand out, cancel, acknowledge, drop
//	mailbox ─────────┤                    ├──▶ journal: stamped commands
//	tail of the log ─┼─▶ Turn(now, in) ───┼──▶ inbox: reports
//	clients' calls ──┘                    └──▶ clients' calls: answers, ends of runs
//
// A task's attempt goes through these states:
//
//	            HandTask            Started              TaskDone             answer in the log
//	(delivery) ─────────▶ handing ─────────▶ running ───────────▶ reporting ─────────────────▶ acknowledged
//	                         │                  │ deadline, no heartbeat, worker lost ──▶ TimeoutTask
//	                         └── not sent ──▶ given back to the scheduler
//
// Nothing here is durable. What a lost gateway knew is found again: workers tell what they hold when they reconnect, and
// keep results until they are acknowledged.
package sessions
