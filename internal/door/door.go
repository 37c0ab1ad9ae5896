// Package door is what stands at the addresses of a process: the rule which of them may be served, TLS, and the tokens without
// which nobody is let in.
//
// Files are read again when they change, at most once a second. What was read last and made sense holds: a certificate that does
// not match its key, or a tokens file with a mistake, changes nothing and is logged once.
package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/continuo-dev/continuo/internal/clock"
)

// Options of a door. Files that are not named are not needed.
type Options struct {
	// CertFile and KeyFile are PEM files of a certificate, with its chain, and its key; both or neither.
	CertFile, KeyFile string
	// TokensFile names those who are let in; see [ParseTokens].
	TokensFile string
	// InsecureOpenBind lets addresses beyond loopback be served without protection.
	InsecureOpenBind bool
	// Clock and Log are needed.
	Clock clock.Clock
	Log   *slog.Logger
}

// Door guards the addresses of one process. Its methods may be called from any goroutine. A nil door serves loopback addresses
// only, in clear, and lets everybody in.
type Door struct {
	rule        Rule
	certificate *current[*tls.Certificate] // nil without TLS
	guard       *guard                     // nil without tokens
	log         *slog.Logger
}

// Open reads the files. It fails when one cannot be read or makes no sense.
func Open(o Options) (*Door, error) {
	d := &Door{log: o.Log, rule: Rule{TLS: o.CertFile != "", Tokens: o.TokensFile != "", InsecureOpenBind: o.InsecureOpenBind}}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("tls_cert_file and tls_key_file belong together; only one is set")
	}
	if o.CertFile != "" {
		certificate, err := open(o, "tls_cert_file, tls_key_file", ReadPair, o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		d.certificate = certificate
	}
	if o.TokensFile != "" {
		tokens, err := open(o, "tokens_file", readTokens, o.TokensFile)
		if err != nil {
			return nil, err
		}
		d.guard = newGuard(tokens, o)
	}
	return d, nil
}

// TLS returns how to serve TLS, the certificate chosen at every handshake; nil means in clear.
func (d *Door) TLS() *tls.Config {
	if d == nil || d.certificate == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			certificate, _ := d.certificate.get()
			return certificate, nil
		},
	}
}

// Listen opens a TCP listener on an address that the rule allows; setting names it in errors. Whoever opens an unprotected one is
// warned in the log.
func (d *Door) Listen(ctx context.Context, setting, address string) (net.Listener, error) {
	if err := d.rules().Check(setting, address); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w", setting, address, err)
	}
	if err := d.Check(setting, listener); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if rule := d.rules(); Beyond(address) && (!rule.TLS || !rule.Tokens) {
		d.log.Warn("INSECURE: anybody who reaches this address can read and change everything (insecure_open_bind)",
			slog.String("setting", setting), slog.String("address", listener.Addr().String()), slog.Bool("tls", rule.TLS), slog.Bool("tokens", rule.Tokens))
	}
	return listener, nil
}

// Check refuses a TCP listener that the rule does not allow. Others, such as those within a process, are nobody else's to reach.
func (d *Door) Check(setting string, l net.Listener) error {
	if addr, ok := l.Addr().(*net.TCPAddr); ok {
		return d.rules().Check(setting, addr.String())
	}
	return nil
}

func (d *Door) rules() Rule {
	if d == nil {
		return Rule{}
	}
	return d.rule
}

// Run looks at the tokens once a second until ctx ends, so that whoever is no longer let in is put out. It returns nil.
func (d *Door) Run(ctx context.Context) error {
	if d == nil || d.guard == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.guard.clock.After(rereadEvery):
			d.guard.refresh()
		}
	}
}
