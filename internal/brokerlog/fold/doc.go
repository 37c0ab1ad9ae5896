// Package fold makes a journal with exactly one confirmed order per partition out of any log that is merely ordered: appends
// to it may be repeated, come late, fail while later ones succeed, or have an unknown outcome, and several processes may
// believe that they are the owner.
//
// It is pure and single-threaded: no I/O, clock or lock. Every reader of a partition's events runs the same [State] over the
// same messages and so accepts the same frames; that alone decides what is in the journal. A [Writer] is the owner's side, a
// [Forwarder] carries commands from one partition to another:
//
//	                 Take                Append            append                Read
//	commands log ──▶ Writer ──▶ engine ──▶ Writer ──▶ events log ──▶ every State ──▶ accepted records
//	     ▲                                               │
//	     └── append ◀── Forwarder ◀───── Read ───────────┘  accepted frames, by destination
//
// A writer goes through these phases; each end is final, the next ownership is a new writer with a new id:
//
//	reading ──Open──▶ opening ──own opening read back──▶ active ──▶ ended: superseded, refused, send failed, halted
//
// What a reader knows is small and bounded by the number of partitions; a checkpoint of it ([AppendCheckpoint]) lets a reader
// begin in the middle of a trimmed log.
//
// The rules, what they answer to and which test shows each of them: docs/internals/log-protocol.md.
package fold
