package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/payload"
)

// Error is a failure with a code for programs. Make it with [Failure].
type Error struct {
	// Code is for programs: stable, short, snake_case.
	Code string
	// Message is for people.
	Message string

	details any
	cause   error
}

// Failure returns an error with a code, which callers find in [flow.TaskError] or in the run's error.
//
// [flow.TaskError]: https://pkg.go.dev/github.com/continuo-dev/continuo/pkg/sdk/flow#TaskError
func Failure(code, message string) *Error { return &Error{Code: code, Message: message} }

// With returns a copy of the error that carries a value for programs.
func (e *Error) With(details any) *Error {
	c := *e
	c.details = details
	return &c
}

// Because returns a copy of the error with its cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// permanent marks an error that is not to be retried.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent returns err marked so that the task is not tried again, whatever its policy says. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// retryAfter marks an error with the delay before the next attempt.
type retryAfter struct {
	error
	delay time.Duration
}

func (r retryAfter) Unwrap() error { return r.error }

// RetryAfter returns err marked so that the next attempt, if the policy allows one, starts after d instead of the
// policy's delay. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return retryAfter{err, max(d, 0)}
}

// maxCauses bounds the chain of causes in a failure.
const maxCauses = 16

// FailureOf returns err as it travels: with the code of the first error in its chain that has one, else code. It is the
// one place where errors become failures.
func FailureOf(err error, code string, payloads payload.Converter) *events.Failure {
	return events.ClipFailure(convert(err, code, payloads, 1))
}

// RetryDelay returns the delay that err was marked with by [RetryAfter], negative when it was not.
func RetryDelay(err error) time.Duration {
	if r, ok := errors.AsType[retryAfter](err); ok {
		return r.delay
	}
	return -1
}

// failer is an error that knows how it travels.
type failer interface {
	error
	Failure() *events.Failure
}

func convert(err error, code string, payloads payload.Converter, depth int) *events.Failure {
	f := &events.Failure{Code: code, Message: err.Error(), Type: typeOf(err)}
	_, f.NonRetryable = errors.AsType[permanent](err)
	cause := error(nil)
	if own, ok := errors.AsType[*Error](err); ok {
		f.Code = own.Code
		if own.details != nil {
			details, encodeErr := payloads.Encode(own.details)
			if encodeErr != nil {
				details, _ = payload.Converter{}.Encode("details were lost: " + encodeErr.Error())
			}
			f.Details = details
		}
		cause = own.cause
	} else if known, ok := errors.AsType[failer](err); ok {
		inner := known.Failure()
		f.Code, f.NonRetryable = inner.Code, f.NonRetryable || inner.NonRetryable
		if _, itself := bare(err).(failer); itself { //nolint:errorlint // whether it is itself the one, not one that it wraps
			inner.NonRetryable = f.NonRetryable
			return inner
		}
		f.Cause = inner
	} else if given, ok := errors.AsType[*events.Failure](err); ok {
		f.Code, f.NonRetryable = given.Code, f.NonRetryable || given.NonRetryable
		f.Cause = given
	} else if edge, ok := errors.AsType[*events.Error](err); ok {
		f.Code = string(edge.Code)
	} else {
		f.Code, cause = codeOfPlain(err)
	}
	if f.Code == "" {
		f.Code = code
	}
	if cause != nil && depth < maxCauses {
		f.Cause = convert(cause, "", payloads, depth+1)
	}
	return f
}

// codeOfPlain returns the code of an error that knows nothing of failures, "" if it has none, and the cause to be shown.
func codeOfPlain(err error) (code string, cause error) {
	switch {
	case errors.Is(err, replay.ErrCancelled):
		return events.CodeCancelled, nil
	case errors.Is(err, replay.ErrTimeout):
		return events.CodeTimeout, nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "", nil
	default:
		return "", errors.Unwrap(bare(err))
	}
}

// bare returns err without the marks of this package.
func bare(err error) error {
	for {
		switch e := err.(type) { //nolint:errorlint // only the outermost marks are taken off
		case permanent:
			err = e.error
		case retryAfter:
			err = e.error
		default:
			return err
		}
	}
}

func typeOf(err error) string { return fmt.Sprintf("%T", bare(err)) }
