package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/door"
)

// maxPartitions bounds the partitions of a new log.
const maxPartitions = 1024

// Validate reports the first setting with a value that cannot be, naming the setting, the limit and the way out.
func (c Server) Validate() error { return first(c.Problems()) }

// ValidateCluster reports the first setting that a process over a broker cannot work with. readModel says whether it needs
// one.
func (c Server) ValidateCluster(readModel bool) error { return first(c.ClusterProblems(readModel)) }

func first(problems []error) error {
	if len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// problems collects what is wrong with settings.
type problems []error

// unless adds a problem that there is if ok is false.
func (p *problems) unless(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
}

// add adds a problem if it is one.
func (p *problems) add(err error) { p.unless(err == nil, "%w", err) }

// Problems returns everything that is wrong with the settings of any process.
func (c Server) Problems() []error {
	var p problems
	rule := door.Rule{TLS: c.TLSCertFile != "", Tokens: c.TokensFile != "", InsecureOpenBind: c.InsecureOpenBind}
	p.add(rule.Check("http_addr", c.HTTPAddr))
	p.add(rule.Check("grpc_addr", c.GRPCAddr))
	p.unless((c.TLSCertFile == "") == (c.TLSKeyFile == ""), "tls_cert_file and tls_key_file belong together; only one is set")
	p.unless(c.HTTPAddr != c.GRPCAddr || strings.HasSuffix(c.HTTPAddr, ":0"), "http_addr and grpc_addr are both %s; give them two ports", c.HTTPAddr)
	p.unless(c.TraceRatio >= 0 && c.TraceRatio <= 1, "trace_ratio is %v; it may be 0 (none) to 1 (all)", c.TraceRatio)
	p.unless(!strings.Contains(c.OTLPEndpoint, "://"), "otlp_endpoint is %q; use host:port, such as 127.0.0.1:4317, and otlp_insecure for a receiver without TLS", c.OTLPEndpoint)
	p.unless(slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel), "log_level is %q; use debug, info, warn or error", c.LogLevel)
	p.unless(slices.Contains([]string{"text", "json"}, c.LogFormat), "log_format is %q; use text or json", c.LogFormat)
	p.unless(c.RetentionHistory >= 24*time.Hour, "retention_history is %s; the least is 24h", c.RetentionHistory)
	p.unless(c.DiskReserveBytes >= 16<<20, "disk_reserve_bytes is %d; the least is %d (16 MiB)", c.DiskReserveBytes, 16<<20)
	p.unless(c.MaxPayloadBytes >= 1<<10 && c.MaxPayloadBytes <= 3<<20, "max_payload_bytes is %d; it may be 1024 to %d (3 MiB)", c.MaxPayloadBytes, 3<<20)
	p.unless(c.DrainTimeout > 0, "drain_timeout is %s; it must be above 0", c.DrainTimeout)
	return p
}

// ClusterProblems returns what else is wrong for a process over a broker. readModel says whether it needs one.
func (c Server) ClusterProblems(readModel bool) []error {
	var p problems
	p.unless(c.Pulsar != "", "pulsar is not set: name the broker with --pulsar pulsar://HOST:6650 or CONTINUO_PULSAR")
	p.unless(c.Objects != "", "objects is not set: name the directory that all processes share with --objects DIR or CONTINUO_OBJECTS, or a bucket with s3://BUCKET, gs://BUCKET or azblob://CONTAINER")
	if dir, is := c.ObjectsDirectory(); is {
		scheme, _, _ := strings.Cut(dir, ":")
		p.unless(!slices.Contains([]string{"s3", "gs", "azblob"}, scheme), "objects is %q; a bucket is %s://NAME, a directory of that name ./%s", dir, scheme, dir)
	} else {
		p.add(checkURL("objects", c.Objects, "s3", "gs", "azblob"))
	}
	p.unless(!readModel || c.ClickHouse != "",
		"clickhouse is not set: name the read store with --clickhouse http://USER@HOST:8123/DATABASE or CONTINUO_CLICKHOUSE")
	p.unless(c.Partitions >= 0 && c.Partitions <= maxPartitions, "partitions is %d; it may be 1 to %d, or 0 for 16", c.Partitions, maxPartitions)
	p.unless((c.PulsarCertFile == "") == (c.PulsarKeyFile == ""), "pulsar_cert_file and pulsar_key_file belong together; only one is set")
	p.unless((c.PulsarOAuth2Issuer == "") == (c.PulsarOAuth2KeyFile == ""), "pulsar_oauth2_issuer and pulsar_oauth2_key_file belong together; only one is set")
	p.unless(c.PulsarOAuth2Issuer != "" || c.PulsarOAuth2Audience+c.PulsarOAuth2Scope == "", "pulsar_oauth2_audience and pulsar_oauth2_scope need pulsar_oauth2_issuer")
	p.unless(c.PulsarOAuth2Issuer == "" || c.PulsarTokenFile == "", "pulsar_token_file and pulsar_oauth2_issuer are both set; only one of them can say who connects")
	p.add(checkURL("pulsar_oauth2_issuer", c.PulsarOAuth2Issuer, "http", "https"))
	p.add(checkURL("pulsar", c.Pulsar, "pulsar", "pulsar+ssl"))
	p.add(checkURL("pulsar_admin", c.PulsarAdmin, "http", "https"))
	p.add(checkURL("clickhouse", c.ClickHouse, "http", "https", "clickhouse"))
	return p
}

// ObjectsDirectory returns the directory of the objects, which may be named by a file:// URL; ok is false for a bucket.
func (c Server) ObjectsDirectory() (dir string, ok bool) {
	if dir, ok = strings.CutPrefix(c.Objects, "file://"); ok {
		return dir, true
	}
	return c.Objects, !strings.Contains(c.Objects, "://")
}

// checkURL refuses a URL of another scheme, or without a host. It says nothing of what else is in it: there may be a password.
func checkURL(name, value string, schemes ...string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(strings.Split(value, ",")[0]) // of several hosts the first
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("%s is not a URL with a host that begins with %s://", name, strings.Join(schemes, ":// or "))
	}
	return nil
}
