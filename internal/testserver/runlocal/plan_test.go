package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const composeFile = `name: test
services:
  engine-1:
    image: ours:1
    build: .
    command: ["engine", "--cluster", "engine-1"]
    environment:
      BIND: 0.0.0.0:7480
      BROKER: pulsar+ssl://pulsar:6651,pulsar:6652
      READ_STORE: http://user@clickhouse:8123/db
      OTHERS: gateway-1:7481
      SELF: engine-1
      OBJECTS: /var/lib/ours/objects
      TOKEN: file:///run/secrets/token
      PLAIN: 720h
    healthcheck: {test: ["CMD", "/continuo", "health"]}
    secrets: [token]
    volumes: ["objects:/var/lib/ours"]
  gateway-1:
    image: ours:1
    build: .
    command: ["gateway"]
    environment: {BIND: "0.0.0.0:7480", GRPC: "0.0.0.0:7481"}
    ports: ["127.0.0.1:17481:7481"]
  pulsar: {image: "apachepulsar/pulsar:4.0.8"}
  clickhouse: {image: "clickhouse/clickhouse-server:26.7"}
  grafana: {image: "grafana/grafana:12.1.0"}
volumes: {objects: {}}
secrets: {token: {file: "${CONTINUO_SECRETS:-./secrets}/token"}}
`

func loaded(t *testing.T) *plan {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "compose.yaml")
	if err := os.WriteFile(file, []byte(composeFile), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := load(t.Context(), file, filepath.Join(dir, "state"), "/opt/continuo")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatIsInAContainerIsTranslated(t *testing.T) {
	t.Parallel()
	p := loaded(t)
	state := p.dir
	engine, broker, store := p.hosts["engine-1"], p.hosts["pulsar"], p.hosts["clickhouse"]
	s, ok, err := p.service(t.Context(), p.project.Services["engine-1"])
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	for _, want := range []string{
		"BIND=" + engine + ":7480", "BROKER=pulsar+ssl://" + broker + ":6651," + broker + ":6652", "READ_STORE=http://user@" + store + ":8123/db",
		"OTHERS=127.0.0.1:17481", "SELF=" + engine, "OBJECTS=" + state + "/data/objects/objects", "TOKEN=file://" + state + "/secrets/token", "PLAIN=720h",
	} {
		if !slices.Contains(s.program.Env, want) {
			t.Errorf("no %s in %v", want, s.program.Env)
		}
	}
	if s.program.Path != "/opt/continuo" || !slices.Equal(s.program.Args, []string{"engine", "--cluster", engine}) {
		t.Errorf("it runs %s %v", s.program.Path, s.program.Args)
	}
	if !slices.Equal(s.check.Command, []string{"/opt/continuo", "health"}) {
		t.Errorf("it is healthy when %v", s.check.Command)
	}
}

func TestPublishedPortsAreWhereTheyArePublished(t *testing.T) {
	t.Parallel()
	p := loaded(t)
	gateway := p.project.Services["gateway-1"]
	if got := p.translate(gateway, "0.0.0.0:7481"); got != "127.0.0.1:17481" {
		t.Errorf("the published port is at %s", got)
	}
	if got := p.translate(gateway, "0.0.0.0:7480"); got != p.hosts["gateway-1"]+":7480" {
		t.Errorf("the other port is at %s", got)
	}
	for name, host := range p.hosts {
		if !strings.HasPrefix(host, "127.") {
			t.Errorf("%s is at %s, not on loopback", name, host)
		}
	}
	if len(slices.Compact(p.addresses())) != len(p.project.Services) {
		t.Errorf("services share addresses: %v", p.hosts)
	}
}

func TestAServiceOfAnotherImageIsLeftOut(t *testing.T) {
	t.Parallel()
	p := loaded(t)
	if _, ok, err := p.service(t.Context(), p.project.Services["grafana"]); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}
