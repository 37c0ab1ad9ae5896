// Package doortest makes certificates for tests.
package doortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Pair is a certificate that signs itself, for localhost and the loopback addresses, and its key.
type Pair struct {
	// Leaf is the certificate; CertPEM and KeyPEM are what files have.
	Leaf            *x509.Certificate
	CertPEM, KeyPEM []byte
}

// NewPair makes a pair that is good for an hour.
func NewPair(t testing.TB) Pair {
	return NewPairUntil(t, time.Now().Add(time.Hour)) //nolint:forbidigo // those who look at the certificate have the wall clock
}

// NewPairUntil makes a pair that is good until a moment.
func NewPairUntil(t testing.TB, end time.Time) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "continuo test"}, NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{
		Leaf: leaf, CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// Write writes the two files, each at once: a reader sees the old or the new one.
func (p Pair) Write(t testing.TB, certFile, keyFile string) {
	t.Helper()
	Replace(t, certFile, p.CertPEM)
	Replace(t, keyFile, p.KeyPEM)
}

// Replace puts a file in the place of another at once.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// Trusting returns how a client connects that trusts these pairs.
func Trusting(pairs ...Pair) *tls.Config {
	pool := x509.NewCertPool()
	for _, p := range pairs {
		pool.AddCert(p.Leaf)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}
