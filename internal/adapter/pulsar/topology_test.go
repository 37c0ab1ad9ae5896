package pulsar_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	server "github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// fatal returns the fatal findings as one text.
func fatal(found []pulsar.Finding) string {
	var text []string
	for _, f := range found {
		if f.Fatal {
			text = append(text, f.String())
		}
	}
	return strings.Join(text, "; ")
}

func wantText(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q does not say %q", what, text, part)
		}
	}
}

func look(t *testing.T, o pulsar.Options, do func(context.Context, pulsar.Options) ([]pulsar.Finding, error)) []pulsar.Finding {
	t.Helper()
	found, err := do(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSetupThenCheck(t *testing.T) {
	t.Parallel()
	o := fresh(server.Shared(t))
	wantText(t, "check of nothing", fatal(look(t, o, pulsar.Check)), "namespace tests/"+o.Namespace, "does not exist", "continuo pulsar setup")
	for _, step := range []func(context.Context, pulsar.Options) ([]pulsar.Finding, error){pulsar.Setup, pulsar.Check, pulsar.Setup} {
		if found := look(t, o, step); len(found) > 0 {
			t.Errorf("found %v", found)
		}
	}
	o.Partitions = 0
	if n := open(t, o).Partitions(); n != 2 {
		t.Errorf("a log of 2 partitions that is opened without a number has %d", n)
	}
	o.Partitions = 3
	_, err := pulsar.Open(t.Context(), o)
	if _, ok := errors.AsType[*pulsar.TopologyError](err); !ok {
		t.Fatalf("3 partitions of 2: %v", err)
	}
	wantText(t, "3 partitions of 2", err.Error(), "it has 2 partitions, and 3 are asked for", "Ask for 2")
}

func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	o := fresh(server.Shared(t))
	opened := make(chan error, 4)
	for range cap(opened) {
		go func() {
			l, err := pulsar.Open(context.WithoutCancel(t.Context()), o)
			if err == nil {
				err = l.Close()
			}
			opened <- err
		}()
	}
	for range cap(opened) {
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
}

func TestChangedPartitions(t *testing.T) {
	t.Parallel()
	s := server.Shared(t)
	o := fresh(s)
	look(t, o, pulsar.Setup)
	ask(t, s, http.MethodPost, fmt.Sprintf("persistent/tests/%s/events/partitions", o.Namespace), "4")
	o.Partitions = 0
	wantText(t, "4 partitions of 2", fatal(look(t, o, pulsar.Check)), "persistent://tests/"+o.Namespace+"/events", "it has 4 partitions and was made with 2")
}

func TestForeignPolicies(t *testing.T) {
	t.Parallel()
	s := server.Shared(t)
	for policy, test := range map[string]struct{ path, body, says string }{
		"message-ttl":                  {"messageTTL", "3600", "set-message-ttl --messageTTL 0"},
		"subscription-expiration-time": {"subscriptionExpirationTime", "60", "set-subscription-expiration-time --time 0"},
		"deduplication":                {"deduplication", "true", "set-deduplication --disable"},
		"backlog-quota":                {"backlogQuota?backlogQuotaType=destination_storage", `{"limitSize":1000000000,"policy":"consumer_backlog_eviction"}`, "set-backlog-quota"},
	} {
		o := fresh(s)
		look(t, o, pulsar.Setup)
		ask(t, s, http.MethodPost, "namespaces/tests/"+o.Namespace+"/"+test.path, test.body)
		found := look(t, o, pulsar.Check)
		wantText(t, policy, fatal(found), "policy "+policy, "namespace tests/"+o.Namespace, test.says)
		if _, err := pulsar.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: opened with %v", policy, err)
		}
	}
}

func TestLostBaseSubscription(t *testing.T) {
	t.Parallel()
	s := server.Shared(t)
	o := fresh(s)
	look(t, o, pulsar.Setup)
	ask(t, s, http.MethodDelete, fmt.Sprintf("persistent/tests/%s/events-partition-1/subscription/continuo", o.Namespace), "")
	wantText(t, "a deleted subscription", fatal(look(t, o, pulsar.Setup)), "events-partition-1", "subscription continuo, which keeps messages, is not there", "create-subscription")
}

func TestWrongAddresses(t *testing.T) {
	t.Parallel()
	s := server.Shared(t)
	for name, change := range map[string]struct {
		change func(o *pulsar.Options)
		says   []string
	}{
		"no scheme":          {func(o *pulsar.Options) { o.URL = s.Addr }, []string{"broker URL", "want pulsar://host:6650"}},
		"nobody there":       {func(o *pulsar.Options) { o.AdminURL = "http://127.0.0.1:1" }, []string{"http://127.0.0.1:1", "is the broker there"}},
		"the broker's port":  {func(o *pulsar.Options) { o.AdminURL = "http://" + s.Addr }, []string{"pulsar_admin"}},
		"the web's port":     {func(o *pulsar.Options) { o.URL = "pulsar://" + s.AdminAddr }, []string{"is the broker there"}},
		"two identities":     {func(o *pulsar.Options) { o.Token, o.TokenFile = "a", "b" }, []string{"only one of them"}},
		"a key alone":        {func(o *pulsar.Options) { o.TLS.KeyFile = "k" }, []string{"belong together"}},
		"no token file":      {func(o *pulsar.Options) { o.TokenFile = "/nowhere/token" }, []string{"token file", "/nowhere/token"}},
		"strange namespace":  {func(o *pulsar.Options) { o.Namespace = "a/b" }, []string{`namespace "a/b"`}},
		"too many partition": {func(o *pulsar.Options) { o.Partitions = 5000 }, []string{"5000 partitions: want 1 to 1024"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := fresh(s)
			o.Patience = time.Second
			change.change(&o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := pulsar.Open(ctx, o)
			if err == nil {
				t.Fatal("opened")
			}
			wantText(t, name, err.Error(), change.says...)
		})
	}
}
