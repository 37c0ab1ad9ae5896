package events

// Code is the stable outcome of a request, the same in answers, over gRPC and in REST errors. Codes are only ever added.
type Code string

// The codes of answers and of errors at the edge.
const (
	OK Code = "ok"
	// Accepted: the command is durable, its outcome is not known yet. Not an error.
	Accepted Code = "accepted"
	// Stale: the result, timer or progress is of something that is over; it was ignored. Not an error for its sender.
	Stale Code = "stale"

	InvalidArgument   Code = "invalid_argument"   // the request itself is wrong
	BadIDCode         Code = "bad_id"             // an id or name breaks its rules
	PayloadTooLarge   Code = "payload_too_large"  // above the payload limit
	NotFound          Code = "not_found"          // no such workflow or run
	ViewNotFound      Code = "view_not_found"     // the run has not set that view
	AlreadyOpen       Code = "already_open"       // a run of this workflow id is open
	IDTaken           Code = "id_taken"           // the run id or workflow id is taken by something else
	RunEnded          Code = "run_ended"          // the run has ended
	RunCompleting     Code = "run_completing"     // the run is ending and takes no more signals
	InboxFull         Code = "inbox_full"         // too many unread signals
	Quarantined       Code = "quarantined"        // the run is quarantined
	NotQuarantined    Code = "not_quarantined"    // there is nothing to release
	Overloaded        Code = "overloaded"         // too much waits; try again later
	DiskFull          Code = "disk_full"          // below the disk watermark; try again later
	Unavailable       Code = "unavailable"        // not ready, stopping or lost; try again
	DeadlineExceeded  Code = "deadline_exceeded"  // the caller's time is up
	SDKTooNew         Code = "sdk_too_new"        // the worker or client speaks a newer protocol than the server
	SDKTooOld         Code = "sdk_too_old"        // the server no longer speaks the protocol of the worker or client
	DuplicateName     Code = "duplicate_name"     // two definitions of one name
	SignatureMismatch Code = "signature_mismatch" // two workers offer one name with different types
	NotImplemented    Code = "not_implemented"    // a method or verb that this server does not have
	Unauthenticated   Code = "unauthenticated"    // no token, or none that the server knows
	Internal          Code = "internal"           // a bug: see the server's log
)

// Answer is the outcome of one command, kept in the record it caused. Answers are not part of a history.
type Answer struct {
	RequestID RequestID
	Session   SessionID
	N         uint64
	Code      Code
	// Message explains a refusal to people; empty when Code is OK.
	Message string
	// RunID is the run concerned: for a start the one made, attached to or in the way.
	RunID RunID
	// Status and Ended are filled for GetRun and starts: Ended is the number of the event that ended the run, 0 while open.
	Status Status
	Ended  EventNumber
	// Duplicate marks the repeated answer to a repeated request.
	Duplicate bool
	// Started tells, for a start, that this run id's run exists because of this request (or its first occurrence).
	Started bool
}

// Error is a refusal or failure of the suite with its stable code.
type Error struct {
	Code    Code
	Message string
	// RetryAfterMs tells when trying again is sensible; 0 means unknown or never.
	RetryAfterMs int64
	// RunID is the run concerned, when there is one.
	RunID RunID
}

// Error returns the message and the code.
func (e *Error) Error() string { return e.Message + " [" + string(e.Code) + "]" }

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
