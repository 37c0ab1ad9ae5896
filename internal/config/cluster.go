package config

import (
	"fmt"
	"os"
	"strings"
)

// ClickHousePassword reads the password's file; "" if none is set.
func (c Server) ClickHousePassword() (string, error) {
	if c.ClickHousePasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.ClickHousePasswordFile)
	if err != nil {
		return "", fmt.Errorf("%w: clickhouse_password_file: %w", ErrInvalid, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
