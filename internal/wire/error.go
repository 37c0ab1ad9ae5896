package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

// ErrorKind is one line of the error table: what a stable code is over gRPC and over HTTP, and what to do about it.
type ErrorKind struct {
	Code events.Code
	GRPC codes.Code
	HTTP int
	// Retry tells whether the same request may succeed later without anybody changing anything.
	Retry bool
	// Meaning and Advice are one sentence each, for the reference.
	Meaning string
	Advice  string
}

// errorTable is the one place that says what a code is on the wire. Codes are only ever added.
var errorTable = []ErrorKind{
	{events.OK, codes.OK, http.StatusOK, false, "Done.", "Nothing to do."},
	{
		events.Accepted, codes.OK, http.StatusAccepted, false, "The command is durable; its outcome is not known yet.",
		"Ask for the run, or repeat the request with the same id.",
	},
	{events.Stale, codes.OK, http.StatusOK, false, "The result or timer is of something that is over; it was ignored.", "Drop it."},

	{events.InvalidArgument, codes.InvalidArgument, http.StatusBadRequest, false, "The request itself is wrong.", "Correct it as the message says."},
	{
		events.BadIDCode, codes.InvalidArgument, http.StatusBadRequest, false, "An id or a name breaks its rules.",
		"Use 1 to 255 bytes of UTF-8 without control characters, names without spaces; run ids are UUIDs.",
	},
	{
		events.PayloadTooLarge, codes.InvalidArgument, http.StatusRequestEntityTooLarge, false, "A payload or a message is above its limit.",
		"Keep large data elsewhere and pass its address, or raise the server's limit.",
	},
	{
		events.NotFound, codes.NotFound, http.StatusNotFound, false, "There is no such workflow, run or address.",
		"Check namespace, workflow id and run id; an ended run is forgotten after its retention.",
	},
	{events.ViewNotFound, codes.NotFound, http.StatusNotFound, false, "The run has not set that view.", "Check the name; `describe` lists the views there are."},
	{
		events.AlreadyOpen, codes.AlreadyExists, http.StatusConflict, false, "A run of this workflow id is open; the error names it.",
		"Use that run, wait for its end, or start with another id policy.",
	},
	{
		events.IDTaken, codes.AlreadyExists, http.StatusConflict, false, "The run id or workflow id is taken by something else.",
		"Use a new run id; a request id or idempotency key belongs to one request.",
	},
	{events.RunEnded, codes.FailedPrecondition, http.StatusConflict, false, "The run has ended.", "Start a new one if that is meant."},
	{
		events.RunCompleting, codes.FailedPrecondition, http.StatusConflict, true, "The run is ending and takes no more signals.",
		"Try again for the next run of the workflow id.",
	},
	{
		events.InboxFull, codes.ResourceExhausted, http.StatusTooManyRequests, true, "The run has too many unread signals.",
		"Send slower; look why the workflow does not read.",
	},
	{
		events.Quarantined, codes.FailedPrecondition, http.StatusConflict, false, "The run is quarantined: a record of it could not be applied.",
		"Look at `describe`; release it when the cause is gone.",
	},
	{events.NotQuarantined, codes.FailedPrecondition, http.StatusConflict, false, "There is nothing to release.", "Nothing to do."},
	{
		events.Overloaded, codes.ResourceExhausted, http.StatusTooManyRequests, true, "Too much waits in the server; nothing was kept.",
		"Try again after the given time.",
	},
	{
		events.DiskFull, codes.ResourceExhausted, http.StatusInsufficientStorage, true, "The server's disk is near full; nothing was kept.",
		"Make room; the refusal lifts by itself.",
	},
	{
		events.Unavailable, codes.Unavailable, http.StatusServiceUnavailable, true, "The server is not ready, stopping or lost.",
		"Try again; with the same run id or request id nothing happens twice.",
	},
	{
		events.DeadlineExceeded, codes.DeadlineExceeded, http.StatusGatewayTimeout, true, "The caller's time is up; the outcome is not known.",
		"Repeat the request with the same run id or request id.",
	},
	{
		events.SDKTooNew, codes.FailedPrecondition, http.StatusUpgradeRequired, false, "The worker or client speaks a newer protocol than the server.",
		"Upgrade the server first.",
	},
	{
		events.SDKTooOld, codes.FailedPrecondition, http.StatusUpgradeRequired, false, "The server no longer speaks the protocol of the worker or client.",
		"Upgrade the SDK.",
	},
	{events.DuplicateName, codes.InvalidArgument, http.StatusConflict, false, "A worker offers two definitions of one name.", "Rename one of them."},
	{
		events.SignatureMismatch, codes.FailedPrecondition, http.StatusConflict, false, "Two workers of a queue offer one name with different types.",
		"Give the changed task or workflow a new name.",
	},
	{
		events.Unauthenticated, codes.Unauthenticated, http.StatusUnauthorized, false, "The request has no token, or none that the server knows.",
		"Send `Authorization: Bearer TOKEN` with a token of the server's tokens file: [security](../operations/security.md).",
	},
	{events.NotImplemented, codes.Unimplemented, http.StatusNotImplemented, false, "This server does not have that method.", "Check the address or upgrade the server."},
	{
		events.Internal, codes.Internal, http.StatusInternalServerError, false, "A bug or a failed component; nothing is known of the outcome.",
		"See the server's log.",
	},
}

var kindByCode = func() map[events.Code]ErrorKind {
	m := make(map[events.Code]ErrorKind, len(errorTable))
	for _, k := range errorTable {
		m[k.Code] = k
	}
	return m
}()

// ErrorTable returns the table of all codes, in the order of the reference.
func ErrorTable() []ErrorKind { return append([]ErrorKind(nil), errorTable...) }

// KindOf returns the line of a code. A code that this build does not know (of a newer peer) counts as internal, with its
// own name.
func KindOf(code events.Code) ErrorKind {
	if k, ok := kindByCode[code]; ok {
		return k
	}
	k := kindByCode[events.Internal]
	k.Code = code
	return k
}

// AsError makes err an *events.Error: itself if it wraps one, deadline_exceeded and unavailable for the two errors of a
// context, and internal for everything else. nil gives nil.
func AsError(err error) *events.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &events.Error{Code: events.DeadlineExceeded, Message: "the request's time is up"}
	case errors.Is(err, context.Canceled):
		return &events.Error{Code: events.Unavailable, Message: "the request was given up"}
	case errors.Is(err, events.ErrBadID):
		return badID(err)
	}
	return &events.Error{Code: events.Internal, Message: err.Error()}
}

// ToStatus makes the gRPC status of an error, with an ErrorDetail.
func ToStatus(e *events.Error) *status.Status {
	st := status.New(KindOf(e.Code).GRPC, e.Message)
	if st.Code() == codes.OK {
		return st
	}
	if detailed, err := st.WithDetails(ToErrorDetail(e)); err == nil {
		return detailed
	}
	return st
}

// FromStatus reads an error that a gRPC call returned; nil gives nil. Errors without an ErrorDetail (of a proxy, or of
// the gRPC library) get the code that is nearest to their gRPC code.
func FromStatus(err error) *events.Error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return AsError(err)
	}
	for _, d := range st.Details() {
		if detail, ok := d.(*apiv1.ErrorDetail); ok && detail.GetCode() != "" {
			return fromDetail(st.Message(), detail)
		}
	}
	code := nearest(st.Code())
	if code == events.Overloaded && strings.Contains(st.Message(), "message larger than max") {
		code = events.PayloadTooLarge // the gRPC library's own words; trying again would not help
	}
	return &events.Error{Code: code, Message: st.Message()}
}

func nearest(c codes.Code) events.Code {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return events.InvalidArgument
	case codes.NotFound:
		return events.NotFound
	case codes.AlreadyExists:
		return events.IDTaken
	case codes.ResourceExhausted:
		return events.Overloaded
	case codes.Unavailable, codes.Canceled, codes.Aborted:
		return events.Unavailable
	case codes.DeadlineExceeded:
		return events.DeadlineExceeded
	case codes.Unimplemented:
		return events.NotImplemented
	case codes.Unauthenticated:
		return events.Unauthenticated
	default:
		return events.Internal
	}
}

// ToErrorDetail makes the detail that goes with an error.
func ToErrorDetail(e *events.Error) *apiv1.ErrorDetail {
	return &apiv1.ErrorDetail{Code: string(e.Code), RetryAfterMs: e.RetryAfterMs, RunId: e.RunID.String()}
}

// ToCallError makes the error of one call on a client's stream.
func ToCallError(e *events.Error) *apiv1.CallError {
	return &apiv1.CallError{Message: e.Message, Detail: ToErrorDetail(e)}
}

// FromCallError reads the error of one call on a client's stream.
func FromCallError(e *apiv1.CallError) *events.Error {
	return fromDetail(e.GetMessage(), e.GetDetail())
}

func fromDetail(message string, d *apiv1.ErrorDetail) *events.Error {
	e := &events.Error{Code: events.Code(d.GetCode()), Message: message, RetryAfterMs: d.GetRetryAfterMs()}
	if e.Code == "" {
		e.Code = events.Internal
	}
	if run, err := events.ParseRunID(d.GetRunId()); err == nil {
		e.RunID = run
	}
	return e
}

func invalid(format string, args ...any) *events.Error {
	return &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf(format, args...)}
}

func badID(err error) *events.Error {
	return &events.Error{Code: events.BadIDCode, Message: err.Error()}
}
