package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// asStatus makes the gRPC error of err by the one error table; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*events.Error](err); !ok {
		if errors.Is(err, readmodel.ErrDamaged) || errors.Is(err, readmodel.ErrUnavailable) {
			return wire.ToStatus(&events.Error{
				Code: events.Unavailable, RetryAfterMs: 1000, Message: "the read model cannot be read now; a damaged one is built anew, the server's log says why",
			}).Err()
		}
		if errors.Is(err, context.Canceled) {
			return status.FromContextError(err).Err()
		}
		// An error of the gRPC library itself, such as of a broken stream, keeps its code.
		if st, ok := status.FromError(err); ok && st.Code() != codes.Unknown {
			return err
		}
	}
	return wire.ToStatus(wire.AsError(err)).Err()
}

// codeOf names the outcome of a request for metrics and logs.
func codeOf(err error) events.Code {
	if err == nil {
		return events.OK
	}
	return wire.FromStatus(err).Code
}

// hide replaces the message of an internal error: what went wrong inside is for the log, not for the caller.
func (g *Gateway) hide(method string, err error) error {
	if codeOf(err) != events.Internal {
		return err
	}
	g.deps.Log.Error("a request failed", slog.String("method", method), slog.String("error", err.Error()))
	return wire.ToStatus(&events.Error{Code: events.Internal, Message: method + " failed inside the server; its log says why"}).Err()
}

func sessionText(s events.SessionID) string { return strconv.FormatUint(uint64(s), 16) }

// stateOf reads what the workers of this gateway hold.
func (g *Gateway) stateOf(ctx context.Context) ([]sessions.WorkerState, error) {
	c := g.open()
	defer g.closeCall(c)
	g.post(sessions.Inspect{Call: c.id})
	out, err := g.next(ctx, c)
	if err != nil {
		return nil, err
	}
	state, ok := out.(sessions.Inspection)
	if !ok {
		return nil, &events.Error{Code: events.Internal, Message: "an inspection was answered with something else"}
	}
	return state.Workers, nil
}
