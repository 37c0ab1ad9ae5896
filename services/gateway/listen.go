package gateway

import (
	"context"
	"fmt"
	"net"
)

// Listen opens a TCP listener on an address of this machine alone, such as "127.0.0.1:7480" or "localhost:0". Anything
// that others can reach is refused: there is no authentication yet.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not host:port, such as 127.0.0.1:7480: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, notLoopback(address)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if err := checkLoopback(listener); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

// checkLoopback refuses a TCP listener that can be reached from another machine.
func checkLoopback(l net.Listener) error {
	if addr, ok := l.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		return notLoopback(addr.String())
	}
	return nil
}

func notLoopback(address string) error {
	return fmt.Errorf("address %s can be reached from other machines, and there is no authentication yet: "+
		"use 127.0.0.1, and a proxy that authenticates in front of it", address)
}
