package clickhouse

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/continuo-dev/continuo/pkg/events"
)

// column is one column of an insert: values is a slice of what the driver takes for the type.
type column struct {
	name, of string
	values   any
}

// The types of columns, as the driver has to encode them.
const (
	text       = "String"
	symbol     = "LowCardinality(String)"
	symbols    = "Array(LowCardinality(String))"
	texts      = "Array(String)"
	uuidType   = "UUID"
	micros     = "DateTime64(6, 'UTC')"
	unsigned8  = "UInt8"
	unsigned16 = "UInt16"
	unsigned32 = "UInt32"
	unsigned64 = "UInt64"
	signed64   = "Int64"
)

// insert sends all columns in one statement, whose rows are there all or not at all as far as they belong to one partition of
// the table. One that was sent before with the same token changes nothing; an empty token is none.
func (m *Model) insert(ctx context.Context, table, token string, columns []column) error {
	if reflect.ValueOf(columns[0].values).Len() == 0 {
		return nil
	}
	var names []string
	var types []clickhouse.ColumnNameAndType
	for _, c := range columns {
		names = append(names, c.name)
		types = append(types, clickhouse.ColumnNameAndType{Name: c.name, Type: c.of})
	}
	settings := clickhouse.Settings{"async_insert": 0}
	if token != "" {
		settings["insert_deduplication_token"] = table + ":" + token
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(types), clickhouse.WithSettings(settings))
	batch, err := m.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	for i, c := range columns {
		if err := batch.Column(i).Append(c.values); err != nil {
			_ = batch.Close() // nothing was sent
			return fmt.Errorf("column %s of %s: %w", c.name, table, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	return nil
}

// Bounds of DateTime64(6): 1900 and 2299.
const (
	minTime events.Time = -2_208_988_800_000_000
	maxTime events.Time = 10_413_791_999_000_000
)

// timeOf is a time as a column has it; 0 is 1970.
func timeOf(t events.Time) time.Time {
	return time.UnixMicro(int64(min(max(t, minTime), maxTime))).UTC()
}
