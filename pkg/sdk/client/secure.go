package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// The environment variables that [FromEnv] reads. The command line has flags of the same meaning.
const (
	// EnvTLS set to true makes the connection use TLS.
	EnvTLS = "CONTINUO_TLS"
	// EnvCAFile names the certificates to trust instead of the system's; it implies TLS.
	EnvCAFile = "CONTINUO_CA_FILE"
	// EnvTokenFile names the file with the token.
	EnvTokenFile = "CONTINUO_TOKEN_FILE"
)

// FromEnv returns options as the environment has them: CONTINUO_TLS, CONTINUO_CA_FILE and CONTINUO_TOKEN_FILE. Nothing set means
// the zero value.
func FromEnv() (Options, error) {
	wanted := false
	if value := os.Getenv(EnvTLS); value != "" {
		var err error
		if wanted, err = strconv.ParseBool(value); err != nil {
			return Options{}, fmt.Errorf("client: %s is %q; use true or false", EnvTLS, value)
		}
	}
	config, err := TLSConfig(wanted, os.Getenv(EnvCAFile))
	return Options{TLS: config, TokenFile: os.Getenv(EnvTokenFile)}, err
}

// TLSConfig returns how to connect with TLS 1.2 or later and trust the certificates in a PEM file, those of the system if it is
// "". It returns nil, which means no TLS, when neither is asked for.
func TLSConfig(wanted bool, caFile string) (*tls.Config, error) {
	if !wanted && caFile == "" {
		return nil, nil //nolint:nilnil // nil is what Options.TLS has then
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("client: certificates to trust: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("client: certificates to trust: %s has no certificate in PEM", caFile)
	}
	return config, nil
}

// Security returns what gRPC needs to connect to addr with the TLS and the token of the options, for programs that use the
// generated API without a client. It fails when a token would be sent in clear to another machine.
func Security(addr string, options Options) ([]grpc.DialOption, error) {
	transport := insecure.NewCredentials()
	if options.TLS != nil {
		transport = credentials.NewTLS(options.TLS)
	}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	if options.Dialer != nil {
		dial = append(dial, grpc.WithContextDialer(options.dialer()))
	}
	token := options.Token
	if options.TokenFile != "" {
		if token != nil {
			return nil, errors.New("client: Options.Token and Options.TokenFile exclude each other")
		}
		file, err := openTokenFile(options.TokenFile)
		if err != nil {
			return nil, err
		}
		token = file.token
	}
	if token == nil {
		return dial, nil
	}
	if options.TLS == nil && options.Dialer == nil {
		for one := range strings.SplitSeq(addr, ",") {
			if beyondLoopback(strings.TrimSpace(one)) {
				return nil, fmt.Errorf("client: a token would go to %s in clear: use TLS (Options.TLS; %s or %s; --tls or --ca-file)", one, EnvTLS, EnvCAFile)
			}
		}
	}
	return append(dial, grpc.WithPerRPCCredentials(bearer{token: token, secure: options.TLS != nil})), nil
}

// dialer is Options.Dialer, which must not lead a token out of this machine in clear.
func (o Options) dialer() func(ctx context.Context, addr string) (net.Conn, error) {
	if o.TLS != nil || o.Token == nil && o.TokenFile == "" {
		return o.Dialer
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := o.Dialer(ctx, addr)
		if err != nil {
			return nil, err
		}
		if to, ok := conn.RemoteAddr().(*net.TCPAddr); ok && !to.IP.IsLoopback() {
			return nil, errors.Join(fmt.Errorf("a token would go to %s in clear: use TLS (Options.TLS)", to), conn.Close())
		}
		return conn, nil
	}
}

// beyondLoopback reports whether an address may be that of another machine. Of names only localhost is known not to be.
func beyondLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// bearer puts a token on every call and stream.
type bearer struct {
	token  func(context.Context) (string, error)
	secure bool
}

// GetRequestMetadata asks for the token.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	if err != nil { // it may be there at the next try
		return nil, status.Error(codes.Unavailable, "there is no token for the server: "+err.Error())
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity keeps gRPC from sending the token in clear; without TLS the address was looked at before.
func (b bearer) RequireTransportSecurity() bool { return b.secure }

// tokenFile has a token that may be replaced.
type tokenFile struct {
	path string

	mu   sync.Mutex
	last string
}

// openTokenFile reads the file for the first time.
func openTokenFile(path string) (*tokenFile, error) {
	token, err := readToken(path)
	if err != nil {
		return nil, fmt.Errorf("client: token: %w", err)
	}
	return &tokenFile{path: path, last: token}, nil
}

// token reads the file again: calls outside the streams are few. While it cannot be read the token from before is used.
func (f *tokenFile) token(context.Context) (string, error) {
	token, err := readToken(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.last = token
	}
	return f.last, nil
}

func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not have a token and nothing else; a server's file has NAME:TOKEN on its lines, a client's the token alone", path)
	}
	return token, nil
}
