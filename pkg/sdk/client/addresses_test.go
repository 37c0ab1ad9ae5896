package client_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

// Of two servers the one that is there is used, and the other when it is gone.
func TestAnotherServerIsTakenWhenOneIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dead := map[string]bool{"one:7481": true}
		var used []string
		var wire net.Conn
		var g *gateway
		o := client.Options{Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			gone := dead[addr]
			mu.Unlock()
			if gone {
				return nil, net.ErrClosed
			}
			conn, err := g.dial(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			used, wire = append(used, addr), conn
			return conn, err
		}}
		_, c := dialledAt(t, "one:7481, two:7481", o, func(made *gateway) { g = made })
		for i, want := range []string{"two:7481", "one:7481", "two:7481"} {
			if _, err := c.Do(t.Context(), signal("a")); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			if len(used) != i+1 || used[i] != want {
				t.Fatalf("connected to %v, want %s at last", used, want)
			}
			other := map[string]string{"one:7481": "two:7481", "two:7481": "one:7481"}[want]
			dead[want], dead[other] = true, false
			_ = wire.Close()
			mu.Unlock()
		}
	})
}

func TestEveryAddressOfAListIsLookedAt(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"one:7481,", "one:7481,two", ",one:7481", "one:7481,:7481"} {
		if _, err := client.Dial(list, client.Options{}); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("%q: got %v, want that one is not host:port", list, err)
		}
	}
}
