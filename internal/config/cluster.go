package config

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// maxPartitions bounds the partitions of a new log.
const maxPartitions = 1024

// ValidateCluster reports the first setting that a process over a broker cannot work with. readModel says whether it needs
// one.
func (c Server) ValidateCluster(readModel bool) error {
	switch {
	case c.Pulsar == "":
		return fmt.Errorf("%w: pulsar is not set: name the broker with --pulsar pulsar://HOST:6650 or CONTINUO_PULSAR", ErrInvalid)
	case c.Objects == "":
		return fmt.Errorf("%w: objects is not set: name the directory that all processes share with --objects DIR or CONTINUO_OBJECTS", ErrInvalid)
	case readModel && c.ClickHouse == "":
		return fmt.Errorf("%w: clickhouse is not set: name the read store with --clickhouse http://USER@HOST:8123/DATABASE or CONTINUO_CLICKHOUSE", ErrInvalid)
	case c.Partitions < 0 || c.Partitions > maxPartitions:
		return fmt.Errorf("%w: partitions is %d; it may be 1 to %d, or 0 for 16", ErrInvalid, c.Partitions, maxPartitions)
	case (c.PulsarCertFile == "") != (c.PulsarKeyFile == ""):
		return fmt.Errorf("%w: pulsar_cert_file and pulsar_key_file belong together; only one is set", ErrInvalid)
	}
	for _, u := range []struct {
		name, value string
		schemes     []string
	}{
		{"pulsar", c.Pulsar, []string{"pulsar", "pulsar+ssl"}},
		{"pulsar_admin", c.PulsarAdmin, []string{"http", "https"}},
		{"clickhouse", c.ClickHouse, []string{"http", "https", "clickhouse"}},
	} {
		if err := checkURL(u.name, u.value, u.schemes); err != nil {
			return err
		}
	}
	return nil
}

// checkURL refuses a URL of another scheme, or without a host. It says nothing of what else is in it: there may be a password.
func checkURL(name, value string, schemes []string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(strings.Split(value, ",")[0]) // of several hosts the first
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("%w: %s is not a URL with a host that begins with %s://", ErrInvalid, name, strings.Join(schemes, ":// or "))
	}
	return nil
}

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
