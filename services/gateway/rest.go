package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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
	own := map[string]http.Handler{
		"/openapi.json": http.HandlerFunc(serveOpenAPI), "/healthz": http.HandlerFunc(Alive), "/readyz": Ready(g.Components),
		"/metrics": g.metricsHandler(),
	}
	// Not an http.ServeMux: it cleans paths, and a workflow id may have any slashes and dots.
	return Guarded(g.options.Door, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := own[r.URL.Path]; handler != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			handler.ServeHTTP(w, r)
			return
		}
		path, err := hideSlashes(r.URL.EscapedPath())
		if err != nil {
			g.writeError(w, wire.AsError(err))
			return
		}
		hidden := *r.URL
		hidden.Path, hidden.RawPath = path, ""
		request := *r
		request.URL = &hidden
		rest.ServeHTTP(w, &request)
	}))
}

// hiddenSlash stands for an escaped slash while a path is matched: the segments of a path are split at slashes after
// unescaping, and an id may have slashes of its own. No id or name has this character.
const hiddenSlash = "\x00"

// hideSlashes unescapes a path, segment by segment, and hides the slashes that were escaped.
func hideSlashes(escaped string) (string, error) {
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || strings.Contains(plain, hiddenSlash) {
			return "", &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("the address %.200q is malformed", escaped)}
		}
		segments[i] = strings.ReplaceAll(plain, "/", hiddenSlash)
	}
	return strings.Join(segments, "/"), nil
}

func showSlashes(path string) string { return strings.ReplaceAll(path, hiddenSlash, "/") }

func incomingHeader(name string) (string, bool) {
	if http.CanonicalHeaderKey(name) == "Idempotency-Key" {
		return idempotencyKey, true
	}
	if http.CanonicalHeaderKey(name) == "Traceparent" {
		return traceparent, true
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
		for name, value := range path {
			path[name] = showSlashes(value)
		}
		ctx := context.WithValue(r.Context(), restStateKey{}, state)
		err := g.observed(ctx, func() (string, error) {
			to := route{name: "unknown"}
			if pattern, ok := runtime.HTTPPattern(ctx); ok {
				if found, ok := routeOf(r.Method, pattern.String()); ok {
					to = found
				}
			}
			err := to.checkQuery(r.URL.RawQuery)
			if err == nil {
				err = g.enterCall()
			}
			if err != nil {
				g.writeError(w, wire.AsError(err))
				return to.name, err
			}
			defer g.leaveCall()
			next(w, r.WithContext(ctx), path)
			return to.name, state.err
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
		g.writeError(w, &events.Error{Code: events.NotFound, Message: fmt.Sprintf("there is nothing at %s; /openapi.json lists what there is", showSlashes(r.URL.Path))})
	case http.StatusMethodNotAllowed:
		g.writeErrorAs(w, http.StatusMethodNotAllowed, &events.Error{
			Code: events.NotImplemented, Message: fmt.Sprintf("%s is not a method of %s; /openapi.json lists what there is", r.Method, showSlashes(r.URL.Path)),
		})
	default:
		g.writeError(w, &events.Error{Code: events.InvalidArgument, Message: fmt.Sprintf("the address %s is malformed", showSlashes(r.URL.Path))})
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
	writeRefusal(w, code, e)
}

func writeRefusal(w http.ResponseWriter, code int, e *events.Error) {
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
