package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
)

// appended is what a topic has got until one moment: messages, their bytes, and in how many entries the broker has stored them.
type appended struct{ messages, appends, bytes float64 }

// admin asks the broker's web service.
func (s *suite) admin(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.broker.Admin, "/")+"/admin/v2"+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking the broker: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the broker: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("asking the broker for %s: %s %s %w", path, answer.Status, body[:min(len(body), 200)], err)
	}
	return body, nil
}

// appended reads from the broker what all topics have got.
func (s *suite) appended(ctx context.Context) (map[brokerlog.Topic]appended, error) {
	all := map[brokerlog.Topic]appended{}
	for _, topic := range brokerlog.Topics() {
		path := fmt.Sprintf("/persistent/%s/%s/%s", tenant, s.name, topic)
		var stats struct{ MsgInCounter, BytesInCounter float64 }
		var internals struct {
			Partitions map[string]struct{ EntriesAddedCounter float64 }
		}
		for what, into := range map[string]any{"/partitioned-stats": &stats, "/partitioned-internalStats": &internals} {
			body, err := s.admin(ctx, http.MethodGet, path+what)
			if err != nil {
				return nil, err
			}
			if err := json.Unmarshal(body, into); err != nil {
				return nil, fmt.Errorf("what the broker says of %s: %w", topic, err)
			}
		}
		a := appended{messages: stats.MsgInCounter, bytes: stats.BytesInCounter}
		for _, p := range internals.Partitions {
			a.appends += p.EntriesAddedCounter
		}
		all[topic] = a
	}
	return all, nil
}

// listener is the process on this machine that listens where a URL leads to; 0 if there is none that this user may look at.
func listener(where string) int {
	u, err := url.Parse(where)
	if err != nil {
		return 0
	}
	ip := net.ParseIP(u.Hostname())
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || u.Hostname() != "localhost" && !ip.IsLoopback() {
		return 0
	}
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode; 0A is LISTEN
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	opened, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range opened {
		if target, err := os.Readlink(fd); err == nil && sockets[target] {
			pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
			return pid
		}
	}
	return 0
}

// processorTime is what a process has used; 0 when it is not known.
func processorTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * time.Second / clockTicks
}

// usage completes what was used by the processes of the suite and the servers under it.
func (s *suite) usage(ctx context.Context, u usage) (usage, error) {
	u.parts = map[string]time.Duration{}
	for _, m := range s.members {
		used, err := m.CPU()
		if err != nil {
			return u, err
		}
		rss, err := m.RSS()
		if err != nil {
			return u, err
		}
		u.parts[m.role] += used
		u.server += used
		u.rss += rss
	}
	for _, server := range s.servers {
		u.parts[server.name] = processorTime(server.pid)
	}
	var err error
	if u.topics, err = s.appended(ctx); err != nil {
		return u, err
	}
	for topic, a := range u.topics {
		if topic == brokerlog.Presence {
			continue // it goes by time and not by work
		}
		u.syncs, u.records, u.bytes = u.syncs+a.appends, u.records+a.messages, u.bytes+a.bytes
	}
	return u, nil
}

// accountParts writes what the parts of a suite have used for n units.
func (r *Result) accountParts(before, after usage, n float64) {
	if after.parts == nil {
		return
	}
	r.Parts = map[string]float64{}
	for name, used := range after.parts {
		r.Parts["cpu_seconds_per_1000_"+name] = (used - before.parts[name]).Seconds() * 1000 / n
	}
	for topic, a := range after.topics {
		b := before.topics[topic]
		r.Parts["messages_"+string(topic)] = (a.messages - b.messages) / n
		r.Parts["appends_"+string(topic)] = (a.appends - b.appends) / n
		r.Parts["bytes_"+string(topic)] = (a.bytes - b.bytes) / n
	}
}
