// Package config is the configuration of the server: a YAML file, CONTINUO_… environment variables and flags, each
// overriding the one before.
package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// EnvPrefix is what the environment variables of settings begin with: http_addr is CONTINUO_HTTP_ADDR.
const EnvPrefix = "CONTINUO_"

// ErrInvalid is wrapped by every error about a setting's value.
var ErrInvalid = errors.New("invalid configuration")

// Server is the configuration of a server process.
type Server struct {
	// Data is the directory of the embedded store. It is made if it is not there.
	Data string `koanf:"data"`
	// HTTPAddr serves REST, health, metrics and the OpenAPI document; GRPCAddr serves gRPC. Both must be loopback, unless there
	// are TLS and tokens, or InsecureOpenBind.
	HTTPAddr string `koanf:"http_addr"`
	GRPCAddr string `koanf:"grpc_addr"`
	// TLSCertFile and TLSKeyFile make both addresses speak TLS; TokensFile has those who are let in. All are read again when they
	// change.
	TLSCertFile string `koanf:"tls_cert_file"`
	TLSKeyFile  string `koanf:"tls_key_file"`
	TokensFile  string `koanf:"tokens_file"`
	// InsecureOpenBind serves addresses that others can reach without protection.
	InsecureOpenBind bool `koanf:"insecure_open_bind"`
	// OTLPEndpoint is where spans are sent; empty means nowhere, unless the standard variables OTEL_EXPORTER_OTLP_… say so. OTLPInsecure
	// sends them without TLS. TraceRatio is how many of the traces that begin at the server are recorded, 0 to 1.
	OTLPEndpoint string  `koanf:"otlp_endpoint"`
	OTLPInsecure bool    `koanf:"otlp_insecure"`
	TraceRatio   float64 `koanf:"trace_ratio"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `koanf:"log_level"`
	LogFormat string `koanf:"log_format"`
	// RetentionHistory is how long ended runs stay, with their history and result; at least 24 h, as a repeated start must be recognized.
	RetentionHistory time.Duration `koanf:"retention_history"`
	// DiskReserveBytes is the free space below which client commands are refused.
	DiskReserveBytes int64 `koanf:"disk_reserve_bytes"`
	// MaxPayloadBytes bounds one payload; at most 3 MiB.
	MaxPayloadBytes int64 `koanf:"max_payload_bytes"`
	// DrainTimeout bounds the time from SIGTERM to the end of the process.
	DrainTimeout time.Duration `koanf:"drain_timeout"`

	// What follows is for the services as processes of their own, over a broker.

	// Pulsar is the URL of the broker, pulsar://… or pulsar+ssl://…; PulsarAdmin is that of its web service, empty meaning the
	// same host.
	Pulsar      string `koanf:"pulsar"`
	PulsarAdmin string `koanf:"pulsar_admin"`
	// PulsarTenant and PulsarNamespace hold the topics of this cluster, and of no other.
	PulsarTenant    string `koanf:"pulsar_tenant"`
	PulsarNamespace string `koanf:"pulsar_namespace"`
	// PulsarTokenFile has a token, read at every connection. PulsarCAFile has the certificates to trust; PulsarCertFile and
	// PulsarKeyFile are the client's own.
	PulsarTokenFile string `koanf:"pulsar_token_file"`
	PulsarCAFile    string `koanf:"pulsar_ca_file"`
	PulsarCertFile  string `koanf:"pulsar_cert_file"`
	PulsarKeyFile   string `koanf:"pulsar_key_file"`
	// PulsarOAuth2Issuer gives tokens for the client id and secret in PulsarOAuth2KeyFile, instead of a token file.
	PulsarOAuth2Issuer   string `koanf:"pulsar_oauth2_issuer"`
	PulsarOAuth2Audience string `koanf:"pulsar_oauth2_audience"`
	PulsarOAuth2Scope    string `koanf:"pulsar_oauth2_scope"`
	PulsarOAuth2KeyFile  string `koanf:"pulsar_oauth2_key_file"`
	// ClickHouse is http://user@host:8123/database; ClickHousePasswordFile has the password.
	ClickHouse             string `koanf:"clickhouse"`
	ClickHousePasswordFile string `koanf:"clickhouse_password_file"`
	// Objects is a directory that all processes share, or the URL of a bucket: checkpoints, rows, histories, large payloads.
	Objects string `koanf:"objects"`
	// Cache is a directory of this process alone, for what can be read again; empty means memory only.
	Cache string `koanf:"cache"`
	// Cluster names the cluster; it is written into the log and compared.
	Cluster string `koanf:"cluster"`
	// Partitions is for a new log; 0 means 16, and what an existing one has.
	Partitions int `koanf:"partitions"`
}

// Default returns the configuration that holds where nothing is said.
func Default() Server {
	return Server{
		HTTPAddr:         "127.0.0.1:7480",
		GRPCAddr:         "127.0.0.1:7481",
		TraceRatio:       1,
		LogLevel:         "info",
		LogFormat:        "text",
		RetentionHistory: 30 * 24 * time.Hour,
		DiskReserveBytes: 256 << 20,
		MaxPayloadBytes:  2 << 20,
		DrainTimeout:     10 * time.Second,
		PulsarTenant:     "continuo",
		PulsarNamespace:  "default",
		Cluster:          "default",
	}
}

// Flags declares a flag for every setting of the server over an embedded store, with the defaults.
func Flags(f *pflag.FlagSet) {
	d := Default()
	f.String("data", d.Data, "directory of the embedded store")
	f.Int64("disk-reserve-bytes", d.DiskReserveBytes, "free space below which client commands are refused")
	common(f)
}

// ClusterFlags declares a flag for every setting of a process over a broker.
func ClusterFlags(f *pflag.FlagSet) {
	d := Default()
	f.String("pulsar", d.Pulsar, "URL of the broker: pulsar://host:6650 or pulsar+ssl://host:6651")
	f.String("pulsar-admin", d.PulsarAdmin, "URL of the broker's web service (the same host's)")
	f.String("pulsar-tenant", d.PulsarTenant, "tenant of the topics")
	f.String("pulsar-namespace", d.PulsarNamespace, "namespace of the topics; one for each cluster")
	f.String("pulsar-token-file", d.PulsarTokenFile, "file with a token, read at every connection")
	f.String("pulsar-ca-file", d.PulsarCAFile, "certificates to trust instead of the system's")
	f.String("pulsar-cert-file", d.PulsarCertFile, "certificate of this client (mTLS)")
	f.String("pulsar-key-file", d.PulsarKeyFile, "its key")
	f.String("pulsar-oauth2-issuer", d.PulsarOAuth2Issuer, "URL of an OAuth2 issuer that gives this client its tokens")
	f.String("pulsar-oauth2-audience", d.PulsarOAuth2Audience, "audience to ask tokens for")
	f.String("pulsar-oauth2-scope", d.PulsarOAuth2Scope, "scope to ask tokens for")
	f.String("pulsar-oauth2-key-file", d.PulsarOAuth2KeyFile, "JSON file with client_id and client_secret")
	f.String("clickhouse", d.ClickHouse, "URL of the read store: http://user@host:8123/database")
	f.String("clickhouse-password-file", d.ClickHousePasswordFile, "file with its password")
	f.String("objects", d.Objects, "directory or bucket (s3://bucket/prefix?region=…, gs://, azblob://) that all processes share: checkpoints, histories, large payloads")
	f.String("cache", d.Cache, "directory of this process alone, for what can be read again")
	f.String("cluster", d.Cluster, "name of the cluster, written into its log")
	f.Int("partitions", d.Partitions, "partitions of a new log (16)")
	common(f)
}

// common declares the flags of both.
func common(f *pflag.FlagSet) {
	d := Default()
	f.String("http-addr", d.HTTPAddr, "address for REST, health, metrics and the OpenAPI document; beyond loopback it needs TLS and tokens")
	f.String("grpc-addr", d.GRPCAddr, "address for gRPC; beyond loopback it needs TLS and tokens")
	f.String("tls-cert-file", d.TLSCertFile, "certificate of both addresses, with its chain (PEM); read again when it changes")
	f.String("tls-key-file", d.TLSKeyFile, "its key")
	f.String("tokens-file", d.TokensFile, "who is let in: NAME:TOKEN on each line; read again when it changes")
	f.Bool("insecure-open-bind", d.InsecureOpenBind, "serve addresses that others can reach without TLS or tokens")
	f.String("otlp-endpoint", d.OTLPEndpoint, "host:port of an OpenTelemetry receiver (OTLP over gRPC) that spans are sent to")
	f.Bool("otlp-insecure", d.OTLPInsecure, "send spans without TLS")
	f.Float64("trace-ratio", d.TraceRatio, "how many of the traces that begin at the server are recorded, 0 to 1")
	f.String("log-level", d.LogLevel, "debug, info, warn or error")
	f.String("log-format", d.LogFormat, "text or json")
	f.Duration("retention-history", d.RetentionHistory, "how long ended runs stay, with history and result")
	f.Int64("max-payload-bytes", d.MaxPayloadBytes, "largest payload")
	f.Duration("drain-timeout", d.DrainTimeout, "longest time from SIGTERM to the end")
}

// Load reads the configuration: defaults, then the file (none if path is empty), then the environment, then the flags that
// were set. Unknown settings in the file or the environment are refused; a variable that is set to nothing counts as not set.
func Load(path string, flags *pflag.FlagSet) (Server, error) {
	c, _, err := Read(path, flags)
	if err != nil {
		return Server{}, err
	}
	return c, c.Validate()
}

// Read is Load without judging the values: what it returns makes sense to a parser and may be wrong. It tells of every setting that
// is not at its default where its value came from.
func Read(path string, flags *pflag.FlagSet) (Server, Origins, error) {
	k, origins := koanf.New("."), Origins{}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Server{}, nil, fmt.Errorf("%w: file %s: %w", ErrInvalid, path, err)
		}
	}
	for _, name := range k.Keys() {
		origins[name] = "file " + path
	}
	environment := env.Provider(".", env.Opt{Prefix: EnvPrefix, TransformFunc: func(key, value string) (string, any) {
		name := strings.ToLower(strings.TrimPrefix(key, EnvPrefix))
		if value == "" || slices.Contains(clientSettings, name) || slices.Contains(composeVariables, name) || mutant.Built && key == mutant.Variable {
			return "", nil
		}
		origins[name] = key
		return name, value
	}})
	if err := k.Load(environment, nil); err != nil {
		return Server{}, nil, fmt.Errorf("%w: environment: %w", ErrInvalid, err)
	}
	own, clusters := pflag.NewFlagSet("", pflag.ContinueOnError), pflag.NewFlagSet("", pflag.ContinueOnError)
	Flags(own)
	ClusterFlags(clusters)
	own.AddFlagSet(clusters)
	set := posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		if !f.Changed || own.Lookup(f.Name) == nil {
			return "", nil
		}
		name := strings.ReplaceAll(f.Name, "-", "_")
		origins[name] = "--" + f.Name
		return name, posflag.FlagVal(flags, f)
	})
	if err := k.Load(set, nil); err != nil {
		return Server{}, nil, fmt.Errorf("%w: flags: %w", ErrInvalid, err)
	}
	c, err := decode(k, origins)
	if err != nil {
		return Server{}, nil, err
	}
	return c, origins, nil
}

// clientSettings are CONTINUO_ variables of the command line that are not settings of a server.
var clientSettings = []string{"addr", "config", "output", "namespace", "ca_file", "token_file", "tls"} //nolint:gochecknoglobals // a fixed table

// composeVariables are CONTINUO_ variables of deploy/compose, so that a shell that has them can run servers, too.
var composeVariables = []string{ //nolint:gochecknoglobals // a fixed table
	"version", "secrets", "rest", "http_port_1", "http_port_2", "grpc_port_1", "grpc_port_2",
}

// FileFromEnv returns the configuration file that the environment names; empty if none.
func FileFromEnv() string { return os.Getenv(EnvPrefix + "CONFIG") }
