package client

import (
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// target makes of an address, or of several separated by commas, what gRPC connects to. Of several it takes one that answers,
// in an order drawn anew for each client, so that many clients spread over the servers, and another when that one is lost.
func target(addr string) (string, []grpc.DialOption, error) {
	if !strings.Contains(addr, ",") {
		return addr, nil, nil
	}
	var servers []resolver.Address
	for one := range strings.SplitSeq(addr, ",") {
		one = strings.TrimSpace(one)
		if host, port, err := net.SplitHostPort(one); err != nil || host == "" || port == "" {
			return "", nil, fmt.Errorf("%q in it is not host:port", one)
		}
		servers = append(servers, resolver.Address{Addr: one, ServerName: one}) // each shows a certificate of its own
	}
	mathrand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	list := manual.NewBuilderWithScheme("continuo")
	list.InitialState(resolver.State{Addresses: servers})
	return "continuo:///servers", []grpc.DialOption{grpc.WithResolvers(list)}, nil
}
