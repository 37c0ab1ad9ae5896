package pulsar_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	server "github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// TestUnloads lets the broker give a partition away and take it again while it is written and read.
func TestUnloads(t *testing.T) {
	t.Parallel()
	const count, window, unloads = 3000, 32, 5
	s := server.Shared(t)
	o := fresh(s)
	l := open(t, o)
	for _, topic := range []brokerlog.Topic{brokerlog.Events, brokerlog.Commands} {
		a, err := l.Appender(t.Context(), topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Read(t.Context(), topic, 0, fold.Position{})
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			for n := 0; n < count; { // a repeated message would be one that came before
				messages, err := r.Next(t.Context(), 100)
				if err != nil {
					read <- err
					return
				}
				for _, m := range messages {
					var i int
					if _, err := fmt.Sscan(string(m.Body), &i); err != nil || i > n {
						read <- fmt.Errorf("%q came where %d was due", m.Body, n)
						return
					}
					n = max(n, i+1)
				}
			}
			read <- nil
		}()
		places := make(chan struct{}, window)
		for i := range count {
			places <- struct{}{}
			a.Append(t.Context(), fmt.Append(nil, i), func(err error) {
				if err != nil {
					t.Errorf("append %d: %v", i, err)
				}
				<-places
			})
			if i%(count/unloads) == count/unloads/2 {
				ask(t, s, http.MethodPut, fmt.Sprintf("persistent/%s/%s/%s-partition-0/unload", o.Tenant, o.Namespace, topic), "")
			}
		}
		for range window {
			places <- struct{}{}
		}
		if err := <-read; err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
}
