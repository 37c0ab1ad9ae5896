package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/continuo-dev/continuo/internal/readmodel"
)

// A migration brings the schema to its version. Its statements change nothing when they are run again, because one that
// breaks off is begun anew, and two processes may run it at the same time. What has been released is never edited.
type migration struct {
	version    uint32
	name       string
	statements []string
}

// latest is the version that this build reads and writes.
func latest() uint32 { return migrations[len(migrations)-1].version }

const createMigrations = `CREATE TABLE IF NOT EXISTS continuo_migrations (
	version UInt32, name String, applied DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY version`

// What every table has: blocks that are sent again are known by their tokens, and an acknowledged insert is on disk.
const durable = "non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1"

var migrations = []migration{
	{version: 1, name: "runs", statements: []string{
		// How far each partition is. All columns only grow, so that no order of writers can set one back. Everything of the log
		// before next is in the model; what lies between next and hand may be there in part: a write of it was begun. Everything
		// before counted is in the tables of history and statistics, which are written before the runs.
		`CREATE TABLE IF NOT EXISTS positions (
			partition UInt16, next SimpleAggregateFunction(max, UInt64), hand SimpleAggregateFunction(max, UInt64),
			counted SimpleAggregateFunction(max, UInt64), time SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
		) ENGINE = AggregatingMergeTree ORDER BY partition SETTINGS ` + durable,
		// The newest state of each run: the row with the highest rank, which is made of version and of how often the run was
		// deleted. started never changes in a run, so it may lead the key. There is no TTL: dropping the newest version of a run
		// before the others would bring an older one back.
		`CREATE TABLE IF NOT EXISTS workflows (
			namespace LowCardinality(String), workflow_id String CODEC(ZSTD(1)), run_id UUID,
			type LowCardinality(String), status LowCardinality(String),
			started DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)), ended DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
			queue LowCardinality(String), partition UInt16, version UInt64, cancel_requested DateTime64(6, 'UTC'), quarantine String,
			unread UInt64, tasks_scheduled UInt64, continued UInt64,
			result String CODEC(ZSTD(3)), result_encoding LowCardinality(String), result_blob String, result_blob_bytes Int64,
			error_code LowCardinality(String), error String CODEC(ZSTD(3)),
			view_names Array(LowCardinality(String)), view_values Array(String) CODEC(ZSTD(3)),
			details String CODEC(ZSTD(3)), rank UInt64, deleted UInt8,
			INDEX by_workflow workflow_id TYPE bloom_filter(0.01) GRANULARITY 1,
			INDEX by_run run_id TYPE bloom_filter(0.01) GRANULARITY 1,
			INDEX by_status status TYPE set(16) GRANULARITY 1
		) ENGINE = ReplacingMergeTree(rank, deleted) PARTITION BY toYYYYMM(started)
		ORDER BY (namespace, toStartOfHour(started), workflow_id, run_id) SETTINGS index_granularity = 2048, ` + durable,
		// For people: one row per view.
		`CREATE VIEW IF NOT EXISTS views AS SELECT namespace, workflow_id, run_id, type, status, started, name, value
			FROM workflows FINAL ARRAY JOIN view_names AS name, view_values AS value`,
	}},
	{version: 2, name: "history and statistics", statements: []string{
		// Every event. The key is the event's identity, so one that is written again collapses; until it does, FINAL or
		// LIMIT 1 BY run_id, number hides it.
		`CREATE TABLE IF NOT EXISTS history (
			namespace LowCardinality(String), workflow_id String CODEC(ZSTD(1)), run_id UUID, number UInt64 CODEC(DoubleDelta, ZSTD(1)),
			partition UInt16, seq UInt64 CODEC(DoubleDelta, ZSTD(1)), event LowCardinality(String), time DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
			type LowCardinality(String), name LowCardinality(String), step UInt64, attempt UInt32, took_us Int64,
			payload String CODEC(ZSTD(3)), encoding LowCardinality(String), blob String, error_code LowCardinality(String), error String CODEC(ZSTD(3)),
			INDEX by_seq seq TYPE minmax GRANULARITY 1, INDEX by_error lower(error) TYPE ngrambf_v1(4, 4096, 2, 0) GRANULARITY 1
		) ENGINE = ReplacingMergeTree PARTITION BY toMonday(toDate(time)) ORDER BY (namespace, workflow_id, run_id, number)
		TTL toDateTime(time) + INTERVAL 90 DAY DELETE SETTINGS ttl_only_drop_parts = 1, ` + durable,
		// What became of the tasks of a minute, by partition of the log. A row counts all outcomes before next; of two rows of a key the
		// one that has counted more is the newer one.
		`CREATE TABLE IF NOT EXISTS steps (
			namespace LowCardinality(String), minute DateTime('UTC'), type LowCardinality(String), task LowCardinality(String), partition UInt16,
			done UInt64, failed UInt64, retried UInt64, sum_us Int64, max_us Int64, sketch Map(UInt16, UInt64), next UInt64, total UInt64
		) ENGINE = ReplacingMergeTree(total) PARTITION BY toYYYYMM(minute) ORDER BY (namespace, minute, type, task, partition)
		TTL minute + INTERVAL 400 DAY DELETE SETTINGS ttl_only_drop_parts = 1, ` + durable,
		// Every failure, by the event it is in, with its kind instead of its message: it outlives its run.
		`CREATE TABLE IF NOT EXISTS errors (
			namespace LowCardinality(String), time DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)), workflow_id String CODEC(ZSTD(1)), run_id UUID, number UInt64,
			place LowCardinality(String), type LowCardinality(String), name LowCardinality(String), code LowCardinality(String),
			kind String CODEC(ZSTD(1))
		) ENGINE = ReplacingMergeTree PARTITION BY toMonday(toDate(time)) ORDER BY (namespace, toStartOfHour(time), workflow_id, run_id, number)
		TTL toDateTime(time) + INTERVAL 90 DAY DELETE SETTINGS ttl_only_drop_parts = 1, ` + durable,
		// Runs whose history is to be deleted: many at a time, because that rewrites parts.
		`CREATE TABLE IF NOT EXISTS purged (namespace LowCardinality(String), workflow_id String, run_id UUID) ENGINE = MergeTree ORDER BY run_id SETTINGS ` + durable,
	}},
	{version: 3, name: "rebuilds", statements: []string{
		// Wishes to build the model anew, by number, and which of them are fulfilled.
		`CREATE TABLE IF NOT EXISTS rebuilds (asked UInt64, done UInt64) ENGINE = MergeTree ORDER BY asked SETTINGS ` + durable,
	}},
}

// tables are those that Reset empties, the one first that says how far the others are.
var tables = []string{"positions", "workflows", "history", "steps", "errors", "purged"}

// prepare makes the database and its schema, or brings it to the latest version. Errors name the way out.
func (m *Model) prepare(ctx context.Context) error {
	if err := m.createDatabase(ctx); err != nil {
		return err
	}
	has, err := m.version(ctx)
	if err != nil {
		return err
	}
	if has > latest() {
		return fmt.Errorf("database %q of ClickHouse has schema version %d, this build knows %d: run a build that is as new, or name another database in the URL",
			m.database, has, latest())
	}
	for _, step := range migrations {
		if step.version <= has {
			continue
		}
		for _, statement := range step.statements {
			if err := m.conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("schema version %d (%s) of database %q: %w", step.version, step.name, m.database, explain(err))
			}
		}
		if err := m.conn.Exec(ctx, "INSERT INTO continuo_migrations (version, name) VALUES (?, ?)", step.version, step.name); err != nil {
			return fmt.Errorf("record schema version %d: %w", step.version, explain(err))
		}
	}
	return nil
}

// createDatabase makes the database if it is not there. It may not be there yet, so nothing that names it can be asked.
func (m *Model) createDatabase(ctx context.Context) error {
	options := *m.options
	options.Auth.Database = ""
	conn, err := clickhouse.Open(&options)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	var there uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = ?", m.database).Scan(&there); err != nil {
		return explain(err)
	}
	if there > 0 {
		return nil
	}
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoted(m.database)); err != nil {
		return fmt.Errorf("database %q of ClickHouse is not there and cannot be made; make it, or grant CREATE DATABASE: %w", m.database, explain(err))
	}
	return nil
}

// version returns that of the schema, 0 for an empty database. One that others use is refused.
func (m *Model) version(ctx context.Context) (uint32, error) {
	var names []string
	if err := m.conn.QueryRow(ctx, "SELECT groupArray(name) FROM system.tables WHERE database = ?", m.database).Scan(&names); err != nil {
		return 0, explain(err)
	}
	ours := false
	for _, name := range names {
		ours = ours || name == "continuo_migrations" // a user who reads only need not be able to make it
	}
	if !ours && len(names) > 0 {
		return 0, fmt.Errorf("database %q of ClickHouse has tables that are not Continuo's (%s): name an empty database in the URL", m.database, strings.Join(names[:min(3, len(names))], ", "))
	}
	if !ours {
		if err := m.conn.Exec(ctx, createMigrations); err != nil {
			return 0, fmt.Errorf("database %q of ClickHouse: %w", m.database, explain(err))
		}
		return 0, nil
	}
	var version uint32
	if err := m.conn.QueryRow(ctx, "SELECT max(version) FROM continuo_migrations").Scan(&version); err != nil {
		return 0, explain(err)
	}
	return version, nil
}

func quoted(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// Codes of ClickHouse.
const (
	codeNoSuchColumn      = 16
	codeUnknownIdentifier = 47
	codeUnknownTable      = 60
	codeUnknownDatabase   = 81
	codeTimeout           = 159
	codeUnknownUser       = 192
	codeWrongPassword     = 193
	codeRequiredPassword  = 194
	codeTooManyQueries    = 202
	codeMemoryLimit       = 241
	codeTooManyParts      = 252
	codeAccessDenied      = 497
	codeAuthentication    = 516
)

// explain makes errors of the driver those of the port.
func explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, readmodel.ErrUnavailable) || errors.Is(err, readmodel.ErrDamaged) {
		return err
	}
	exception, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok { // the server, or what lies between, is absent, slow or breaks off
		return fmt.Errorf("%w: ClickHouse: %w", readmodel.ErrUnavailable, err)
	}
	switch exception.Code {
	case codeUnknownTable, codeUnknownDatabase, codeNoSuchColumn, codeUnknownIdentifier:
		return fmt.Errorf("%w: ClickHouse: %w", readmodel.ErrDamaged, err)
	case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthentication:
		return fmt.Errorf("%w: ClickHouse refuses the user or password of the URL: %w", readmodel.ErrUnavailable, err)
	case codeAccessDenied:
		return fmt.Errorf("%w: ClickHouse: the user of the URL lacks a right: %w", readmodel.ErrUnavailable, err)
	case codeTimeout, codeTooManyQueries, codeMemoryLimit, codeTooManyParts:
		return fmt.Errorf("%w: ClickHouse: %w", readmodel.ErrUnavailable, err)
	}
	return fmt.Errorf("ClickHouse: %w", err)
}

// How long a statement may take.
const (
	dialTimeout  = 5 * time.Second
	queryTimeout = 30 * time.Second
	writeTimeout = 60 * time.Second
)
