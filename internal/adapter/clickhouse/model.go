// Package clickhouse keeps the read model in a database of ClickHouse, for many runs and for questions in SQL.
//
// ClickHouse has no transactions over tables, so exactness comes from what is written. Every row says of itself what it
// includes: the state of a run up to a version, the steps of a minute up to a position. Of several such rows the one that
// includes most wins, whatever came first. A batch that broke off anywhere is therefore mended by writing any batch that
// begins at the recorded positions, which are written last; before it the range in hand is recorded, so that what was begun
// is known after a crash. Readers may see a batch in part while it is written.
//
// One process writes at a time. A second one, as when the first was taken for dead, does no harm once the model has a
// position.
package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// DefaultDatabase is the one that a URL without a path means.
const DefaultDatabase = "continuo"

// Options say where the model is.
type Options struct {
	// URL is http://user:password@host:port/database or https://…; clickhouse://… is the native protocol.
	URL string
	// User and Password replace those of the URL if not empty.
	User, Password string
	// TLS is for https; nil means the system's certificates.
	TLS *tls.Config

	transport func(*http.Transport) (http.RoundTripper, error) // for tests
}

// Model is a read model in ClickHouse. Its methods may be called from any goroutine, those of readmodel.Writer by one.
type Model struct {
	database string
	options  *clickhouse.Options
	conn     driver.Conn

	preparing sync.Mutex
	prepared  bool

	writer writer // what the writer knows; nobody else uses it

	clock   clock.Clock
	looking sync.Mutex // held by the one of those that wait who asks for positions

	state  sync.Mutex // guards the rest
	at     map[events.Partition]readmodel.Position
	moved  chan struct{} // closed and replaced when positions move
	closed bool
	// suspect says that damage was found: Reset makes the tables anew then instead of emptying them.
	suspect bool
}

var _ readmodel.Model = (*Model)(nil)

var errClosed = errors.New("the read model is closed")

// Open returns the model of a database. The server need not be there: methods say [readmodel.ErrUnavailable] until it is,
// and make or check the schema when they first find it. An error means that the options cannot be used.
func Open(o Options) (*Model, error) {
	options, err := o.parse()
	if err != nil {
		return nil, err
	}
	return openModel(options)
}

func openModel(options *clickhouse.Options) (*Model, error) {
	conn, err := clickhouse.Open(options)
	if err != nil {
		return nil, fmt.Errorf("ClickHouse URL: %w", err)
	}
	return &Model{
		database: options.Auth.Database, options: options, conn: conn, clock: clock.Real(),
		at: map[events.Partition]readmodel.Position{}, moved: make(chan struct{}),
	}, nil
}

func (o Options) parse() (*clickhouse.Options, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("ClickHouse URL: it cannot be read; want http://user:password@host:port/database") // err has the password
	}
	switch u.Scheme {
	case "http", "https", "clickhouse":
	default:
		return nil, fmt.Errorf("ClickHouse URL: it begins with %q; want http://, https:// or clickhouse://", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("ClickHouse URL: it names no host; want http://user:password@host:port/database")
	}
	if q := u.Query(); u.Scheme == "https" && !q.Has("secure") {
		q.Set("secure", "true")
		u.RawQuery = q.Encode()
	}
	options, err := clickhouse.ParseDSN(u.String())
	if err != nil {
		return nil, fmt.Errorf("ClickHouse URL: %w", err)
	}
	if o.User != "" {
		options.Auth.Username = o.User
	}
	if o.Password != "" {
		options.Auth.Password = o.Password
	}
	if options.TLS != nil && o.TLS != nil {
		options.TLS = o.TLS
	}
	if options.Auth.Database = strings.TrimSuffix(options.Auth.Database, "/"); options.Auth.Database == "" {
		options.Auth.Database = DefaultDatabase
	}
	if options.Compression == nil {
		options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	options.DialTimeout, options.ReadTimeout = dialTimeout, writeTimeout
	options.MaxOpenConns, options.MaxIdleConns = connections, connections
	options.TransportFunc = o.transport
	return options, nil
}

// connections is how many statements run at a time.
const connections = 8

// Ready makes or checks the schema. It is for programs that want to say at once what is wrong; every method does the same.
func (m *Model) Ready(ctx context.Context) error {
	m.preparing.Lock()
	defer m.preparing.Unlock()
	if m.prepared {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := m.prepare(ctx); err != nil {
		return err
	}
	m.prepared = true
	return nil
}

// query begins a question; the returned function ends it.
func (m *Model) query(ctx context.Context) (context.Context, func(), error) {
	if err := m.use(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": int(queryTimeout.Seconds())})), cancel, nil
}

// use begins an operation.
func (m *Model) use(ctx context.Context) error {
	m.state.Lock()
	closed := m.closed
	m.state.Unlock()
	if closed {
		return errClosed
	}
	return m.Ready(ctx)
}

// failed is the error of an operation in the port's terms. It notes damage.
func (m *Model) failed(err error) error {
	if err = explain(err); errors.Is(err, readmodel.ErrDamaged) {
		m.state.Lock()
		m.suspect = true
		m.state.Unlock()
	}
	return err
}

// Reset empties the model, and makes tables anew that are gone or changed. Positions go first and say that the model is empty: what a
// reset that breaks off has left goes when the writer begins.
func (m *Model) Reset(ctx context.Context) error {
	if err := m.use(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := m.empty(ctx)
	if m.isSuspect() || errors.Is(explain(err), readmodel.ErrDamaged) {
		err = m.remake(ctx)
	}
	if err != nil {
		return fmt.Errorf("drop the read model: %w", m.failed(err))
	}
	m.writer = writer{}
	m.state.Lock()
	defer m.state.Unlock()
	m.suspect = false
	clear(m.at)
	return nil
}

func (m *Model) isSuspect() bool {
	m.state.Lock()
	defer m.state.Unlock()
	return m.suspect
}

// empty deletes what the tables have.
func (m *Model) empty(ctx context.Context) error {
	for _, table := range tables {
		if err := m.conn.Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			return err
		}
	}
	return nil
}

// remake drops everything and makes the schema.
func (m *Model) remake(ctx context.Context) error {
	drop := []string{"VIEW IF EXISTS views"}
	for _, table := range append(slices.Clone(tables), "rebuilds", "continuo_migrations") { // without the last one the others are not known as ours
		drop = append(drop, "TABLE IF EXISTS "+table)
	}
	for _, what := range drop {
		if err := m.conn.Exec(ctx, "DROP "+what+" SYNC"); err != nil {
			return err
		}
	}
	return m.prepare(ctx)
}

// Close ends the connections. Calling it twice is harmless.
func (m *Model) Close() error {
	m.state.Lock()
	closed := m.closed
	m.closed = true
	m.state.Unlock()
	if closed {
		return nil
	}
	return m.conn.Close()
}
