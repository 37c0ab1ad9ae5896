package pulsar

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/auth"

	"github.com/continuo-dev/continuo/internal/clock"
)

// Defaults of [Options].
const (
	DefaultTenant     = "continuo"
	DefaultNamespace  = "default"
	DefaultPartitions = 16
	DefaultMaxPending = 1024
	DefaultPatience   = 15 * time.Second
)

// Options say where the broker is and how to be let in. Only URL is needed.
type Options struct {
	// URL of the broker: pulsar://host:6650 or pulsar+ssl://host:6651; several hosts are separated by commas.
	URL string
	// AdminURL is the web service; empty means http on port 8080, or https on port 8443, of URL's first host.
	AdminURL string
	// Tenant and Namespace hold the topics; empty means "continuo" and "default". One namespace has one log.
	Tenant, Namespace string
	// Partitions of every topic, when they are created; they cannot be changed. 0 means 16 for new topics and what they have for
	// existing ones.
	Partitions int
	// MaxPending is how many messages of one appender may be on their way before it blocks; 0 means 1024. 16 MiB are a bound
	// beside it.
	MaxPending int

	TLS    TLS
	Token  string // sent as it is
	OAuth2 OAuth2
	// TokenFile is read at every connection, so that the token can be changed while the process runs.
	TokenFile string

	// Patience is how long opening waits for a broker that is not there; 0 means 15 s.
	Patience time.Duration

	// Logger gets the warnings of the client; nil means none.
	Logger *slog.Logger
	// Clock is real when nil. The client has timers of its own.
	Clock clock.Clock
}

// TLS is what a connection by pulsar+ssl and https needs beyond the system's certificates.
type TLS struct {
	CAFile string // certificates to trust instead of the system's
	// CertFile and KeyFile are the client's own, and who it is if nothing else says so (mTLS).
	CertFile, KeyFile string
	// SkipVerify takes any server for the right one. For tries only.
	SkipVerify bool
}

// OAuth2 is the client credentials flow. It is used when Issuer is set.
type OAuth2 struct {
	Issuer   string // URL of the issuer
	Audience string
	Scope    string
	// KeyFile is a JSON file with client_id and client_secret, as Pulsar's other tools read it.
	KeyFile string
}

var nameOf = regexp.MustCompile(`^[A-Za-z0-9][-=:.\w]{0,127}$`)

// complete fills in defaults and says what is wrong.
func (o Options) complete() (Options, error) {
	o.Tenant, o.Namespace = cmp.Or(o.Tenant, DefaultTenant), cmp.Or(o.Namespace, DefaultNamespace)
	o.MaxPending = cmp.Or(o.MaxPending, DefaultMaxPending)
	o.Patience = cmp.Or(o.Patience, DefaultPatience)
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	broker, err := url.Parse(o.URL)
	switch {
	case err != nil || broker.Scheme != "pulsar" && broker.Scheme != "pulsar+ssl" || broker.Host == "":
		return o, fmt.Errorf("broker URL %q: want pulsar://host:6650 or pulsar+ssl://host:6651", o.URL)
	case !nameOf.MatchString(o.Tenant) || !nameOf.MatchString(o.Namespace):
		return o, fmt.Errorf("tenant %q, namespace %q: want letters, digits and -=:._", o.Tenant, o.Namespace)
	case o.Partitions < 0 || o.Partitions > 1024:
		return o, fmt.Errorf("%d partitions: want 1 to 1024", o.Partitions)
	case o.MaxPending < 1:
		return o, fmt.Errorf("%d messages on their way: want at least 1", o.MaxPending)
	}
	if o.AdminURL == "" {
		host, _, err := net.SplitHostPort(firstHost(broker.Host))
		if err != nil {
			host = firstHost(broker.Host)
		}
		o.AdminURL = "http://" + net.JoinHostPort(host, "8080")
		if broker.Scheme == "pulsar+ssl" {
			o.AdminURL = "https://" + net.JoinHostPort(host, "8443")
		}
	}
	admin, err := url.Parse(o.AdminURL)
	if err != nil || admin.Scheme != "http" && admin.Scheme != "https" || admin.Host == "" {
		return o, fmt.Errorf("admin URL %q: want http://host:8080 or https://host:8443 (%w)", o.AdminURL, cmp.Or(err, errors.New("it is neither")))
	}
	return o, o.oneIdentity()
}

func firstHost(hosts string) string {
	for i, c := range hosts {
		if c == ',' {
			return hosts[:i]
		}
	}
	return hosts
}

func (o *Options) oneIdentity() error {
	n := 0
	for _, set := range []bool{o.Token != "", o.TokenFile != "", o.OAuth2.Issuer != ""} {
		if set {
			n++
		}
	}
	if n > 1 {
		return errors.New("token, token file and OAuth2 issuer: only one of them can say who connects")
	}
	if (o.TLS.CertFile == "") != (o.TLS.KeyFile == "") {
		return errors.New("a TLS certificate and its key belong together; one of both files is missing")
	}
	return nil
}

// tlsConfig is nil when nothing but the system's certificates is needed.
func (o *Options) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.TLS.SkipVerify} //nolint:gosec // asked for
	if o.TLS.CAFile != "" {
		text, err := os.ReadFile(o.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("TLS certificates to trust: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("TLS certificates to trust: there is none in %s", o.TLS.CAFile)
		}
	}
	if o.TLS.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(o.TLS.CertFile, o.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate of the client: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// identity makes who connects; nil means nobody in particular.
func (o *Options) identity() (auth.Provider, error) {
	switch {
	case o.Token != "":
		return auth.NewAuthenticationToken(o.Token), nil
	case o.TokenFile != "":
		if _, err := os.Stat(o.TokenFile); err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		return auth.NewAuthenticationTokenFromFile(o.TokenFile), nil
	case o.OAuth2.Issuer != "":
		provider, err := auth.NewAuthenticationOAuth2WithParams(map[string]string{
			auth.ConfigParamType: auth.ConfigParamTypeClientCredentials, auth.ConfigParamIssuerURL: o.OAuth2.Issuer,
			auth.ConfigParamAudience: o.OAuth2.Audience, auth.ConfigParamScope: o.OAuth2.Scope, auth.ConfigParamKeyFile: o.OAuth2.KeyFile,
		})
		if err != nil {
			return nil, fmt.Errorf("OAuth2 key file %s for issuer %s: %w", o.OAuth2.KeyFile, o.OAuth2.Issuer, err)
		}
		return provider, nil
	case o.TLS.CertFile != "":
		return auth.NewAuthenticationTLS(o.TLS.CertFile, o.TLS.KeyFile), nil
	default:
		return nil, nil
	}
}

// httpClient speaks to the web service as the same identity.
func (o *Options) httpClient(config *tls.Config, identity auth.Provider) (*http.Client, error) {
	transport := &http.Transport{
		TLSClientConfig: config, MaxIdleConnsPerHost: topologyParallel, IdleConnTimeout: 30 * time.Second, Proxy: http.ProxyFromEnvironment,
		ResponseHeaderTimeout: 15 * time.Second,
	}
	if identity == nil {
		return &http.Client{Transport: transport}, nil
	}
	if err := identity.Init(); err != nil {
		return nil, fmt.Errorf("identity for %s: %w", o.AdminURL, err)
	}
	if err := identity.WithTransport(transport); err != nil {
		return nil, fmt.Errorf("identity for %s: %w", o.AdminURL, err)
	}
	return &http.Client{Transport: identity}, nil
}
