// Package clickhouse runs the real ClickHouse engine for tests.
package clickhouse
