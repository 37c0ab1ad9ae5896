package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/child"
)

// Broker says over which servers the services of a cluster are measured. Each workload has a namespace, a database and processes
// of its own; namespace and database are deleted at the end where the servers allow it.
type Broker struct {
	// Pulsar is the URL of the broker, Admin that of its web service, ClickHouse that of the read store; only its address is used.
	Pulsar, Admin, ClickHouse string
	// Together runs all services in one process. Otherwise each is a process of its own.
	Together bool
	// Partitions of the log; 0 means the suite's default.
	Partitions int
	// Setting is a word about what is special in how broker and processes are set up, for tables; empty means none.
	Setting string
}

// check says what is missing.
func (b *Broker) check() error {
	if b.ClickHouse == "" {
		return errors.New("bench: services over a broker need a read store: name it with --clickhouse")
	}
	for _, text := range []string{b.Pulsar, b.ClickHouse} {
		if u, err := url.Parse(text); err != nil || u.Host == "" {
			return fmt.Errorf("bench: %q is no URL of a server", text)
		}
	}
	if b.Admin == "" {
		u, _ := url.Parse(b.Pulsar) // it was checked
		b.Admin = "http://" + u.Hostname() + ":8080"
	}
	return nil
}

// tenant has the namespaces of benchmarks.
const tenant = "continuo-bench"

// suites counts those that this process has begun, for names that differ.
var suites atomic.Int64

// suite is the services over a broker, each in a process of its own or all in one.
type suite struct {
	broker  Broker
	name    string // of the namespace and the database
	binary  string
	dir     string
	members []*member
	servers []watched
}

// member is a process of the suite.
type member struct {
	*child.Server
	role, socket string
}

// watched is a server whose processor time is measured; 0 is not known.
type watched struct {
	name string
	pid  int
}

func newSuite(l *lab) *suite {
	b := *l.options.Broker
	return &suite{
		broker: b, name: fmt.Sprintf("bench_%d_%d", os.Getpid(), suites.Add(1)), binary: l.options.Binary, dir: l.dir,
		servers: []watched{{"broker", listener(b.Pulsar)}, {"clickhouse", listener(b.ClickHouse)}},
	}
}

// start starts services, each as often as told, and waits until they are ready. The first one makes the namespace.
func (s *suite) start(ctx context.Context, roles ...string) error {
	first := len(s.members)
	for _, role := range roles {
		n := 1
		for _, m := range s.members {
			if m.role == role {
				n++
			}
		}
		m := &member{role: role, socket: filepath.Join(s.dir, role+strconv.Itoa(n)+".sock")}
		server, err := child.SpawnServer(child.ServerOptions{
			Binary: s.binary, Verb: role, Log: filepath.Join(s.dir, "data.log"), Args: s.flags(m),
		})
		if err != nil {
			return err
		}
		m.Server = server
		s.members = append(s.members, m)
		if len(s.members) == 1 {
			if err := m.AwaitReady(ctx); err != nil {
				return err
			}
		}
	}
	for _, m := range s.members[first:] {
		if err := m.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// flags are those of a process.
func (s *suite) flags(m *member) []string {
	read, _ := url.Parse(s.broker.ClickHouse) // it was checked
	read.Path = "/" + s.name
	flags := []string{
		"--pulsar", s.broker.Pulsar, "--pulsar-admin", s.broker.Admin, "--pulsar-tenant", tenant, "--pulsar-namespace", s.name,
		"--clickhouse", read.String(), "--objects", filepath.Join(s.dir, "data"), "--log-level", "warn", "--profile-socket", m.socket,
	}
	if s.broker.Partitions > 0 {
		flags = append(flags, "--partitions", strconv.Itoa(s.broker.Partitions))
	}
	return flags
}

// roles are the processes of a suite.
func (s *suite) roles() []string {
	if s.broker.Together {
		return []string{"all"}
	}
	return []string{"engine", "scheduler", "projector", "gateway"}
}

// gateway is the process that clients and workers connect to.
func (s *suite) gateway() *child.Server { return append(s.of("gateway"), s.of("all")...)[0].Server }

// of returns the processes of a role.
func (s *suite) of(role string) (found []*member) {
	for _, m := range s.members {
		if m.role == role {
			found = append(found, m)
		}
	}
	return found
}

// restart starts a process again that was killed.
func (m *member) restart(ctx context.Context) error {
	if err := removeSocket(m.socket); err != nil {
		return err
	}
	return m.Restart(ctx)
}

// describe says what the broker is.
func (s *suite) describe(ctx context.Context) (string, error) {
	version, err := s.admin(ctx, http.MethodGet, "/brokers/version")
	if err != nil {
		return "", err
	}
	var topic struct{ Partitions int }
	path := "/persistent/" + tenant + "/" + s.name + "/" + string(brokerlog.Events) + "/partitions"
	body, err := s.admin(ctx, http.MethodGet, path)
	if err == nil {
		err = json.Unmarshal(body, &topic)
	}
	return fmt.Sprintf("Apache Pulsar %s, %d partitions", version, topic.Partitions), err
}

// close ends the processes and deletes what they have made, as far as the servers allow.
func (s *suite) close() error {
	var errs []error
	for _, m := range s.members {
		errs = append(errs, m.Kill())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, _ = s.admin(ctx, http.MethodDelete, "/namespaces/"+tenant+"/"+s.name+"?force=true") // a broker may be set to refuse it
	drop := strings.NewReader("DROP DATABASE IF EXISTS " + s.name)
	if request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.broker.ClickHouse, drop); err == nil {
		if answer, err := http.DefaultClient.Do(request); err == nil {
			errs = append(errs, answer.Body.Close())
		}
	}
	return errors.Join(errs...)
}
