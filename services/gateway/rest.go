package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Handler returns the HTTP side: the REST form of the API, the OpenAPI document, health and metrics.
func (g *Gateway) Handler() http.Handler {
	rest := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, restJSON{}),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithIncomingHeaderMatcher(incomingHeader),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithErrorHandler(g.restError),
		runtime.WithRoutingErrorHandler(g.routingError),
		runtime.WithForwardResponseOption(acceptedStatus),
		runtime.WithMiddlewares(g.restCall),
	)
	if err := apiv1.RegisterWorkflowServiceHandlerServer(context.Background(), rest, service{Gateway: g}); err != nil {
		panic("gateway: the generated REST handlers do not register: " + err.Error())
	}
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.HandleFunc("GET /openapi.json", serveOpenAPI)
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.Handle("GET /metrics", g.metricsHandler())
	return mux
}

func incomingHeader(name string) (string, bool) {
	if http.CanonicalHeaderKey(name) == "Idempotency-Key" {
		return idempotencyKey, true
	}
	return "", false
}

// acceptedStatus answers 202 when a start is durable and its outcome is not known yet.
func acceptedStatus(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	if start, ok := m.(*apiv1.StartWorkflowResponse); ok && start.GetAccepted() {
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

// restState is what a request's handler keeps about it for the error handler: the generated code in between passes errors
// as text only.
type restState struct {
	body *limitedBody
	err  error
}

type restStateKey struct{}

// limitedBody is a request's body that remembers why reading it failed.
type limitedBody struct {
	reader io.ReadCloser
	failed error
}

// Read reads from the body.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		b.failed = &events.Error{Code: events.PayloadTooLarge, Message: fmt.Sprintf(
			"the body has more than %d bytes: keep large data elsewhere and pass its address", tooLarge.Limit)}
	}
	return n, err
}

// Close closes the body.
func (b *limitedBody) Close() error { return b.reader.Close() }

// restCall is around every REST request: it bounds, measures and logs it, and catches panics.
func (g *Gateway) restCall(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		state := &restState{body: &limitedBody{reader: http.MaxBytesReader(w, r.Body, wire.MaxMessageBytes)}}
		r.Body = state.body
		ctx := context.WithValue(r.Context(), restStateKey{}, state)
		err := g.observed(ctx, func() (string, error) {
			method := r.Method
			if pattern, ok := runtime.HTTPPattern(ctx); ok {
				method += " " + pattern.String()
			}
			if err := g.enterCall(); err != nil {
				g.writeError(w, wire.FromStatus(asStatus(err)))
				return method, err
			}
			defer g.leaveCall()
			next(w, r.WithContext(ctx), path)
			return method, state.err
		})
		if err != nil && state.err == nil && codeOf(err) == events.Internal {
			g.writeError(w, wire.FromStatus(err)) // a panic; if an answer was begun, nothing can be said any more
		}
	}
}

// restError answers a failed request by the error table.
func (g *Gateway) restError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	state, _ := r.Context().Value(restStateKey{}).(*restState)
	if state != nil && state.body.failed != nil {
		err = asStatus(state.body.failed)
	}
	if st, ok := status.FromError(err); ok && st.Code() == codes.InvalidArgument && len(st.Details()) == 0 {
		err = asStatus(&events.Error{Code: events.InvalidArgument, Message: plainText(st.Message())})
	}
	if state != nil {
		state.err = err
	}
	g.writeError(w, wire.FromStatus(g.hide("request", asStatus(err))))
}

// routingError answers a request for an address that does not exist, or not with this method.
func (g *Gateway) routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	switch code {
	case http.StatusNotFound:
		g.writeError(w, &events.Error{Code: events.NotFound, Message: fmt.Sprintf("there is nothing at %s; /openapi.json lists what there is", r.URL.Path)})
	case http.StatusMethodNotAllowed:
		g.writeErrorAs(w, http.StatusMethodNotAllowed, &events.Error{
			Code: events.NotImplemented, Message: fmt.Sprintf("%s is not a method of %s; /openapi.json lists what there is", r.Method, r.URL.Path),
		})
	default:
		g.writeError(w, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("the address %s is malformed", r.URL.Path)})
	}
}

// restErrorBody is the body of every REST error.
type restErrorBody struct {
	Code         events.Code `json:"code"`
	Message      string      `json:"message"`
	RetryAfterMs int64       `json:"retry_after_ms,omitempty"`
	RunID        string      `json:"run_id,omitempty"`
}

func (g *Gateway) writeError(w http.ResponseWriter, e *events.Error) {
	g.writeErrorAs(w, wire.KindOf(e.Code).HTTP, e)
}

func (g *Gateway) writeErrorAs(w http.ResponseWriter, code int, e *events.Error) {
	if e.RetryAfterMs > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((e.RetryAfterMs+999)/1000, 10))
	}
	writeJSON(w, code, restErrorBody{Code: e.Code, Message: e.Message, RetryAfterMs: e.RetryAfterMs, RunID: e.RunID.String()})
}

// writeJSON writes a small document. The peer may be gone; there is nobody to tell then.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
