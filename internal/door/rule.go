package door

import (
	"fmt"
	"net"
	"strings"
)

// Rule says which addresses a process may serve: those of the loopback interface always, others with TLS and tokens, or when
// somebody has said that they are to be unprotected.
type Rule struct {
	TLS, Tokens      bool
	InsecureOpenBind bool
}

// Check refuses an address that the rule does not allow. The error names the setting, what is missing, and the way out.
func (r Rule) Check(setting, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s is %q; use host:port, such as 127.0.0.1:7480", setting, address)
	}
	if !Beyond(address) || r.TLS && r.Tokens {
		return nil
	}
	if r.Tokens { // even an open bind must not make clients send their tokens in clear
		return fmt.Errorf("%s is %q, which others could reach, and tokens_file is set without TLS: tokens would travel in clear; "+
			"set tls_cert_file and tls_key_file, too, or use 127.0.0.1 with a proxy that speaks TLS in front", setting, address)
	}
	if r.InsecureOpenBind {
		return nil
	}
	var missing []string
	if !r.TLS {
		missing = append(missing, "tls_cert_file and tls_key_file")
	}
	missing = append(missing, "tokens_file")
	return fmt.Errorf("%s is %q, which others could reach; without TLS and tokens only loopback is served: "+
		"set %s, or use 127.0.0.1, [::1] or localhost; insecure_open_bind (--insecure-open-bind) serves it to anybody",
		setting, address, strings.Join(missing, " and "))
}

// Beyond reports whether an address may be reached from another machine. Of names only localhost is known not to be.
func Beyond(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}
