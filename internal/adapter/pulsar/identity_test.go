package pulsar_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/internal/child"
	server "github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

var secret = []byte("a secret of thirty-two bytes, at least")

// token is a JSON web token for a role.
func token(role string) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"sub":%q}`, role))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// authority makes certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca", true)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes name.crt and name.key.
func (a *authority) issue(t *testing.T, name string, ca bool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer, a.cert, a.key = template, key, template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// issuer gives the token of a role to who knows the client's secret.
func issuer(t *testing.T, role string) (url string) {
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]any{"issuer": s.URL, "token_endpoint": s.URL + "/token"}
		if r.URL.Path == "/token" {
			id, password, _ := r.BasicAuth()
			if id == "" {
				id, password = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
			}
			if id != "continuo" || password != "password" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answer = map[string]any{"access_token": token(role), "token_type": "Bearer", "expires_in": 3600}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// guarded is a broker that asks who comes, by token and by TLS, and where the superuser is "admin".
func guarded(t *testing.T, ca *authority) (s *server.Server, tlsURL, tlsAdminURL string) {
	ca.issue(t, "broker", false)
	ports, err := child.FreePorts(2)
	must(t, err)
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
	s = server.Start(t, server.Options{Token: token("admin"), Config: map[string]string{
		"authenticationEnabled": "true", "authorizationEnabled": "true", "superUserRoles": "admin",
		"authenticationProviders":              "org.apache.pulsar.broker.authentication.AuthenticationProviderToken,org.apache.pulsar.broker.authentication.AuthenticationProviderTls",
		"tokenSecretKey":                       "data:;base64," + base64.StdEncoding.EncodeToString(secret),
		"brokerClientAuthenticationPlugin":     "org.apache.pulsar.client.impl.auth.AuthenticationToken",
		"brokerClientAuthenticationParameters": `{"token":"` + token("admin") + `"}`,
		"brokerServicePortTls":                 port(ports[0]), "webServicePortTls": port(ports[1]),
		"tlsCertificateFilePath": ca.file("broker.crt"), "tlsKeyFilePath": ca.file("broker.key"), "tlsTrustCertsFilePath": ca.file("ca.crt"),
	}})
	return s, "pulsar+ssl://" + ports[0], "https://" + ports[1]
}

// works appends and reads.
func works(t *testing.T, name string, o pulsar.Options) {
	t.Helper()
	l, err := pulsar.Open(t.Context(), o)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer func() { must(t, l.Close()) }()
	a, err := l.Appender(t.Context(), brokerlog.Events, 0)
	must(t, err)
	outcome := make(chan error, 1)
	a.Append(t.Context(), []byte(name), func(err error) { outcome <- err })
	must(t, <-outcome)
	r, err := l.Read(t.Context(), brokerlog.Events, 0, fold.Position{})
	must(t, err)
	messages, err := r.Next(t.Context(), 1)
	if err != nil || len(messages) != 1 {
		t.Errorf("%s: read %d messages, %v", name, len(messages), err)
		return
	}
	must(t, l.Keep(t.Context(), brokerlog.Events, 0, "reader", messages[0].At))
	must(t, l.Drop(t.Context(), "reader"))
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s, tlsURL, tlsAdminURL := guarded(t, ca)
	plain := pulsar.Options{URL: s.URL(), AdminURL: s.AdminURL(), Tenant: "guarded", Namespace: "log", Partitions: 1, Patience: time.Second}

	refusals := func(what string, o pulsar.Options, says ...string) {
		t.Helper()
		_, err := pulsar.Open(t.Context(), o)
		if err == nil {
			t.Errorf("%s: opened", what)
			return
		}
		wantText(t, what, err.Error(), says...)
	}
	refusals("nobody", plain, "does not let this identity in", "no token, key file or certificate is given")
	wrong := plain
	wrong.Token = token("admin") + "x"
	refusals("a wrong token", wrong, "does not let this identity in", "is the token right?")
	stranger := plain
	stranger.Token = token("stranger")
	refusals("one without rights", stranger, "right is missing", "guarded")

	admin := plain
	admin.Token = token("admin")
	works(t, "superuser by token", admin)

	// A user of the log needs produce and consume, nothing else.
	grant, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.AdminURL()+"/admin/v2/namespaces/guarded/log/permissions/user", strings.NewReader(`["produce","consume"]`))
	must(t, err)
	grant.Header.Set("Content-Type", "application/json")
	grant.Header.Set("Authorization", "Bearer "+token("admin"))
	answer, err := http.DefaultClient.Do(grant)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode >= 300 {
		t.Fatal(answer.Status)
	}
	user := plain
	user.TokenFile = filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(user.TokenFile, []byte(token("user")+"\n"), 0o600))
	works(t, "user by token file", user)
	found, err := pulsar.Check(t.Context(), user)
	if err != nil || fatal(found) != "" {
		t.Errorf("check by a user: %v, %v", found, err)
	}

	oauth := plain
	keys := filepath.Join(t.TempDir(), "key.json")
	url := issuer(t, "user")
	must(t, os.WriteFile(keys, fmt.Appendf(nil, `{"type":"client_credentials","client_id":"continuo","client_secret":"password","issuer_url":%q}`, url), 0o600))
	oauth.OAuth2 = pulsar.OAuth2{Issuer: url, KeyFile: keys, Audience: "pulsar"}
	works(t, "user by OAuth2", oauth)
	must(t, os.WriteFile(keys, fmt.Appendf(nil, `{"type":"client_credentials","client_id":"continuo","client_secret":"wrong","issuer_url":%q}`, url), 0o600))
	refusals("a wrong client secret", oauth, "gives no token", keys, url)

	secure := plain
	secure.URL, secure.AdminURL, secure.Token = tlsURL, tlsAdminURL, token("user")
	refusals("an unknown certificate authority", secure, "certificate signed by unknown authority")
	secure.TLS.CAFile = ca.file("ca.crt")
	works(t, "user by token over TLS", secure)
	ca.issue(t, "user", false)
	mutual := secure
	mutual.Token, mutual.TLS.CertFile, mutual.TLS.KeyFile = "", ca.file("user.crt"), ca.file("user.key")
	works(t, "user by certificate", mutual)

	other := user
	other.Namespace = "other"
	_, err = pulsar.Open(t.Context(), other)
	if _, ok := errors.AsType[*pulsar.TopologyError](err); !ok && !errors.Is(err, brokerlog.ErrForbidden) {
		t.Errorf("a namespace without rights: %v", err)
	}
}
