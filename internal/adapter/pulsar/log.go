// Package pulsar makes a plain log of Apache Pulsar (4.0 or newer).
//
// A namespace has one log: a topic for each of [brokerlog.Topics], all with the same fixed number of partitions. Each partition
// begins with a message that only this package sees. Nobody consumes: readers keep their positions themselves, and subscriptions
// only keep messages from being forgotten. A position is ledger + 1, entry and index in a batch.
//
// What the broker and its client do not say by themselves is looked after here: a reader whose position is gone is silently
// given the next message that is there, so each reader begins at the message before and looks whether it is that one, and later
// that entries follow each other and ledgers were read to their end.
package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Log is a log on a broker.
type Log struct {
	options Options
	client  pulsar.Client
	admin   *admin
	ctx     context.Context // ends with the log
	cancel  context.CancelFunc
	work    sync.WaitGroup // goroutines of appenders and readers

	mu     sync.Mutex
	closed bool
	ended  bool                              // nothing is spawned any more
	parts  map[interface{ Close() }]struct{} // appenders and readers
}

var _ brokerlog.Log = (*Log)(nil)

// Features of a log with journal sync on: brokers may be set up to acknowledge what they have not synced.
var Features = brokerlog.Features{Durable: true, KeepsAsked: true}

// TopologyError says why a log cannot be used as it is.
type TopologyError struct{ Findings []Finding }

// Error lists what is fatal.
func (e *TopologyError) Error() string {
	var text []string
	for _, f := range e.Findings {
		if f.Fatal {
			text = append(text, f.String())
		}
	}
	return strings.Join(text, "; ")
}

// Open connects, creates what is missing of the log as far as rights allow, and checks it. It fails with a [*TopologyError]
// when something is not as it has to be; what is only worth knowing is logged. It waits for an absent broker for
// [Options.Patience].
func Open(ctx context.Context, o Options) (*Log, error) {
	l, found, err := open(ctx, o, true)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		l.options.Logger.Warn("pulsar topology", slog.String("about", f.About), slog.String("found", f.What), slog.String("fix", f.Fix))
	}
	return l, nil
}

// Setup creates what is missing of a log and checks what is there.
func Setup(ctx context.Context, o Options) ([]Finding, error) { return findings(ctx, o, true) }

// Check looks whether a log is as it has to be, and changes nothing.
func Check(ctx context.Context, o Options) ([]Finding, error) { return findings(ctx, o, false) }

func findings(ctx context.Context, o Options, create bool) ([]Finding, error) {
	l, found, err := open(ctx, o, create)
	if failed, ok := errors.AsType[*TopologyError](err); ok {
		return failed.Findings, nil
	}
	if err != nil {
		return nil, err
	}
	return found, l.Close()
}

func open(ctx context.Context, o Options, create bool) (*Log, []Finding, error) {
	o, err := o.complete()
	if err != nil {
		return nil, nil, fmt.Errorf("pulsar: %w", err)
	}
	l, err := connect(o)
	if err != nil {
		return nil, nil, fmt.Errorf("pulsar: %w", err)
	}
	t := topology{log: l, create: create}
	if err = l.patiently(ctx, t.check); err != nil {
		err = l.explain(err)
	} else if t.fatal() {
		err = &TopologyError{t.found}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("pulsar %s: %w", l.options.URL, err), l.Close())
	}
	return l, t.found, nil
}

// patiently tries again what fails because the broker is not there, or not quite.
func (l *Log) patiently(ctx context.Context, do func(ctx context.Context) error) error {
	until := l.options.Clock.Boot() + l.options.Patience
	for {
		err := do(ctx)
		if e, answered := errors.AsType[*statusError](err); err == nil || lasting(err) || answered && e.status < http.StatusInternalServerError && e.status != http.StatusPreconditionFailed || // two create one subscription
			ctx.Err() != nil || l.options.Clock.Boot() >= until {
			return err
		}
		pause := l.options.Clock.NewTimer(200 * time.Millisecond)
		select {
		case <-pause.C():
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// explain says which setting an error at the beginning is about.
func (l *Log) explain(err error) error {
	o := l.options
	identity := "no token, key file or certificate is given"
	switch {
	case o.OAuth2.Issuer != "":
		identity = "is the key file " + o.OAuth2.KeyFile + " right for the OAuth2 issuer " + o.OAuth2.Issuer + ", and the audience for the broker?"
	case o.TokenFile != "":
		identity = "is the token in " + o.TokenFile + " right?"
	case o.Token != "":
		identity = "is the token right?"
	case o.TLS.CertFile != "":
		identity = "is the certificate " + o.TLS.CertFile + " right?"
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case stranger(err):
		return fmt.Errorf("the broker does not let this identity in: %s %w", identity, err)
	case o.OAuth2.Issuer != "" && strings.Contains(err.Error(), "client credentials"):
		return fmt.Errorf("the issuer gives no token: %s %w", identity, err)
	case errors.Is(err, brokerlog.ErrForbidden):
		return fmt.Errorf("%w (%s)", err, identity)
	default:
		return fmt.Errorf("%w (is the broker there, and are its URL (pulsar) and that of its web service (pulsar_admin), %s, right?)", err, o.AdminURL)
	}
}

func connect(o Options) (*Log, error) {
	config, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	identity, err := o.identity()
	if err != nil {
		return nil, err
	}
	web, err := o.httpClient(config, identity)
	if err != nil {
		return nil, err
	}
	options := pulsar.ClientOptions{
		URL: o.URL, ConnectionTimeout: 5 * time.Second, OperationTimeout: 10 * time.Second, MemoryLimitBytes: -1,
		Logger: plog.NewLoggerWithSlog(slog.New(warnings{o.Logger.Handler()})), MetricsRegisterer: prometheus.NewRegistry(),
		TLSTrustCertsFilePath: o.TLS.CAFile, TLSAllowInsecureConnection: o.TLS.SkipVerify, TLSValidateHostname: !o.TLS.SkipVerify,
		TLSCertificateFile: o.TLS.CertFile, TLSKeyFilePath: o.TLS.KeyFile,
	}
	if identity != nil {
		options.Authentication = identity
	}
	client, err := pulsar.NewClient(options)
	if err != nil {
		return nil, err
	}
	l := &Log{options: o, client: client, admin: &admin{strings.TrimSuffix(o.AdminURL, "/"), web}, parts: map[interface{ Close() }]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// warnings passes what is worth a look: the client tells a lot of its normal life.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// WithAttrs keeps the bound.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the bound.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

// Partitions returns the number of partitions of every topic.
func (l *Log) Partitions() int { return l.options.Partitions }

// Features returns [Features].
func (l *Log) Features() brokerlog.Features { return Features }

func (l *Log) topicName(t brokerlog.Topic, p events.Partition) string {
	return fmt.Sprintf("persistent://%s/%s/%s-partition-%d", l.options.Tenant, l.options.Namespace, t, p)
}

// usable refuses calls of a closed log and for partitions that are not there.
func (l *Log) usable(t brokerlog.Topic, p events.Partition) error {
	if int(p) >= l.options.Partitions {
		return fmt.Errorf("partition %d of %s: the log has %d partitions", p, t, l.options.Partitions)
	}
	if l.ctx.Err() != nil {
		return fmt.Errorf("partition %d of %s: %w", p, t, brokerlog.ErrClosed)
	}
	return nil
}

// bound makes a context that also ends with the log.
func (l *Log) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(brokerlog.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// retry does something until it works, fails for good, or ctx or the log ends.
func (l *Log) retry(ctx context.Context, what string, do func(ctx context.Context) error) error {
	ctx, cancel := l.bound(ctx)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if lasting(err) || ctx.Err() != nil {
			if cause := context.Cause(ctx); errors.Is(cause, brokerlog.ErrClosed) {
				return fmt.Errorf("%s: %w", what, cause)
			}
			return fmt.Errorf("%s: %w", what, translate(err))
		}
		pause := l.options.Clock.NewTimer(200 * time.Millisecond)
		select {
		case <-pause.C():
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// lasting reports whether trying again is in vain.
func lasting(err error) bool {
	if e, ok := errors.AsType[*pulsar.Error](err); ok {
		switch e.Result() { //nolint:exhaustive // the others pass
		case pulsar.AuthenticationError, pulsar.AuthorizationError, pulsar.TopicNotFound, pulsar.InvalidTopicName, pulsar.InvalidConfiguration, pulsar.TopicTerminated:
			return true
		}
	}
	if text := err.Error(); strings.Contains(text, "AuthorizationError") || strings.Contains(text, "AuthenticationError") || strings.Contains(text, "TopicNotFound") {
		return true // some come as text
	}
	return errors.Is(err, brokerlog.ErrTrimmed) || errors.Is(err, brokerlog.ErrAhead) || errors.Is(err, brokerlog.ErrClosed) ||
		is(err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
}

// translate says in the port's terms what the broker said.
func translate(err error) error {
	if err != nil && (forbidden(err) || strings.Contains(err.Error(), "AuthorizationError") || strings.Contains(err.Error(), "AuthenticationError")) {
		return fmt.Errorf("%w: produce and consume on the namespace are needed: %w", brokerlog.ErrForbidden, err)
	}
	return err
}

// End returns the position of the last message.
func (l *Log) End(ctx context.Context, t brokerlog.Topic, p events.Partition) (end fold.Position, err error) {
	if err := l.usable(t, p); err != nil {
		return end, err
	}
	err = l.retry(ctx, fmt.Sprintf("end of partition %d of %s", p, t), func(ctx context.Context) error {
		end, err = l.end(ctx, t, p)
		return err
	})
	return end, err
}

// beginnings bounds where a beginning can be: two processes that set a log up at once may both write one.
const beginnings = 8

func (l *Log) end(ctx context.Context, t brokerlog.Topic, p events.Partition) (fold.Position, error) {
	last, err := l.lastMessage(ctx, t, p)
	if err != nil || last.Entry < 0 {
		return fold.Position{}, err
	}
	var index int32
	if last.Batch != nil {
		index = *last.Batch
	}
	for stepped := false; last.Entry < beginnings; {
		marked, inBatch, err := l.isBeginning(ctx, t, p, last.Ledger, last.Entry)
		if err != nil {
			return fold.Position{}, err
		}
		if !marked {
			if stepped {
				index = inBatch
			}
			break
		}
		if last.Entry--; last.Entry < 0 {
			return fold.Position{}, nil
		}
		stepped = true
	}
	return position(last.Ledger, last.Entry, index), nil
}

// position makes a position of what the broker says. A message that is alone in its entry has index 0 or -1.
func position(ledger, entry int64, index int32) fold.Position {
	return fold.Position{Segment: uint64(ledger) + 1, Entry: uint64(entry), Index: uint32(max(index, 0))}
}

// place is the ledger and entry of a position.
func place(p fold.Position) (ledger, entry int64) { return int64(p.Segment) - 1, int64(p.Entry) }

// own lets the log close something when it is closed.
func (l *Log) own(part interface{ Close() }) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.parts[part] = struct{}{}
	}
	return !l.closed
}

func (l *Log) disown(part interface{ Close() }) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parts, part)
}

// spawn starts a goroutine that Close waits for. It does nothing once Close has begun to wait.
func (l *Log) spawn(run func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.work.Go(run)
	}
}

// Close ends everything that was made from the log and the connection.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	parts := make([]interface{ Close() }, 0, len(l.parts))
	for part := range l.parts {
		parts = append(parts, part)
	}
	l.mu.Unlock()
	l.cancel()
	for _, part := range parts {
		part.Close()
	}
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.work.Wait()
	l.client.Close()
	l.admin.http.CloseIdleConnections()
	return nil
}
