package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver/clickhouse"
	"github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// service is one service of the compose file as a process.
type service struct {
	name    string
	program child.Program // Env is all of its environment
	check   check
	after   []string      // services that must be healthy before
	grace   time.Duration // between SIGTERM and SIGKILL
}

// plan is what a compose file means on this machine.
type plan struct {
	project *types.Project
	dir     string            // for data, logs and secrets
	binary  string            // the program of services with our image
	hosts   map[string]string // loopback addresses of services
	left    []string          // services that are left out
}

// load reads a compose file. The environment may set its variables, but the secrets are those of dir.
func load(ctx context.Context, file, dir, binary string) (*plan, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithOsEnv, cli.WithEnv([]string{"CONTINUO_SECRETS=" + filepath.Join(dir, "secrets")}))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{project: project, dir: dir, binary: binary, hosts: map[string]string{}}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(dir)) // never fails
	sum := hash.Sum32()
	for i, name := range slices.Sorted(maps.Keys(project.Services)) {
		// Another directory has other addresses, so that two can be up at once.
		p.hosts[name] = fmt.Sprintf("127.%d.%d.%d", 64+sum%128, sum>>8%256, 1+i)
	}
	return p, nil
}

// addresses are all that certificates must name.
func (p *plan) addresses() []string { return slices.Sorted(maps.Values(p.hosts)) }

// services translates all that are not left out, in the order of their names.
func (p *plan) services(ctx context.Context) ([]service, error) {
	var all []service
	for _, name := range slices.Sorted(maps.Keys(p.project.Services)) {
		s, ok, err := p.service(ctx, p.project.Services[name])
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		if !ok {
			p.left = append(p.left, name)
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

func (p *plan) service(ctx context.Context, from types.ServiceConfig) (s service, ok bool, err error) {
	s = service{name: from.Name, after: slices.Sorted(maps.Keys(from.DependsOn)), grace: 10 * time.Second}
	if from.StopGracePeriod != nil {
		s.grace = time.Duration(*from.StopGracePeriod)
	}
	environment := map[string]string{}
	for name, value := range from.Environment {
		if value != nil {
			environment[name] = p.translate(from, *value)
		}
	}
	data := filepath.Join(p.dir, "data", from.Name)
	switch {
	case from.Build != nil:
		s.program = child.Program{Path: p.binary, Args: p.translateAll(from, from.Command), Env: assignments(environment)}
		s.check, err = p.check(from)
	case strings.HasPrefix(from.Image, "apachepulsar/pulsar:"):
		s.check = check{URL: "http://" + p.address(from, 8080) + "/admin/v2/brokers/health", TokenFile: p.secret("pulsar.token")}
		s.program, err = pulsar.Command(pulsar.Options{
			Dir: data, Addr: p.address(from, 6650), AdminAddr: p.address(from, 8080), Config: brokerSettings(environment), HeapMB: 256, DirectMB: 256,
		})
	case strings.HasPrefix(from.Image, "clickhouse/clickhouse-server:"):
		s.check = check{URL: "http://" + p.address(from, 8123) + "/ping"}
		s.program, err = p.clickhouse(ctx, from, data, environment)
	default:
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	s.program.Name, s.program.Log = from.Name, filepath.Join(p.dir, from.Name+".log")
	s.program.Env = append(s.program.Env, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	return s, true, nil
}

// secret is the file of a secret.
func (p *plan) secret(name string) string { return p.project.Secrets[name].File }

func (p *plan) clickhouse(ctx context.Context, from types.ServiceConfig, data string, environment map[string]string) (child.Program, error) {
	password, err := os.ReadFile(environment["CLICKHOUSE_PASSWORD_FILE"])
	if err != nil {
		return child.Program{}, fmt.Errorf("CLICKHOUSE_PASSWORD_FILE: %w", err)
	}
	return clickhouse.Command(ctx, clickhouse.Options{
		Dir: data, Addr: p.address(from, 8123), User: environment["CLICKHOUSE_USER"], Password: strings.TrimRight(string(password), "\r\n"),
	})
}

// brokerSettings are the settings of Pulsar in the environment of its image.
func brokerSettings(environment map[string]string) map[string]string {
	settings := map[string]string{}
	for name, value := range environment {
		if setting, ok := strings.CutPrefix(name, "PULSAR_PREFIX_"); ok {
			settings[setting] = value
		}
	}
	return settings
}

// check is the health check of a service with our image.
func (p *plan) check(from types.ServiceConfig) (check, error) {
	if from.HealthCheck == nil || len(from.HealthCheck.Test) < 2 || from.HealthCheck.Test[0] != "CMD" {
		return check{}, errors.New("it has no health check that is a command")
	}
	return check{Command: p.translateAll(from, from.HealthCheck.Test[1:])}, nil
}

// address is where a port of a service is reached: where it is published, else at the service's own address.
func (p *plan) address(of types.ServiceConfig, port uint64) string {
	for _, published := range of.Ports {
		if uint64(published.Target) == port {
			return published.HostIP + ":" + published.Published
		}
	}
	return fmt.Sprintf("%s:%d", p.hosts[of.Name], port)
}

// hostAndPort finds the addresses in a text: HOST:PORT at its beginning, or after what stands before a host in a URL or a list.
var hostAndPort = regexp.MustCompile(`(^|[/@,\s])([a-z0-9][a-z0-9.-]*):([0-9]+)`)

// translate makes of a text for a container of a service what it is on this machine.
func (p *plan) translate(of types.ServiceConfig, text string) string {
	paths := map[string]string{"/continuo": p.binary}
	for _, secret := range of.Secrets {
		target := cmp.Or(secret.Target, secret.Source)
		if !strings.HasPrefix(target, "/") {
			target = "/run/secrets/" + target
		}
		paths[target] = p.secret(secret.Source)
	}
	for _, volume := range of.Volumes {
		source := volume.Source
		if volume.Type == types.VolumeTypeVolume {
			source = filepath.Join(p.dir, "data", volume.Source)
		}
		paths[volume.Target] = source
	}
	// A longer path first: it may lie in a shorter one.
	for _, inside := range slices.SortedFunc(maps.Keys(paths), func(a, b string) int { return cmp.Compare(len(b), len(a)) }) {
		if text == inside || strings.HasPrefix(text, inside+"/") {
			return paths[inside] + text[len(inside):]
		}
		if inside != "/continuo" {
			text = strings.ReplaceAll(text, inside, paths[inside])
		}
	}
	if host, ok := p.hosts[text]; ok {
		return host
	}
	return hostAndPort.ReplaceAllStringFunc(text, func(found string) string {
		parts := hostAndPort.FindStringSubmatch(found)
		port, err := strconv.ParseUint(parts[3], 10, 16)
		if err != nil {
			return found
		}
		switch host := parts[2]; {
		case host == "0.0.0.0" || host == "127.0.0.1":
			return parts[1] + p.address(of, port)
		case p.hosts[host] != "":
			return parts[1] + p.address(p.project.Services[host], port)
		}
		return found
	})
}

func (p *plan) translateAll(of types.ServiceConfig, texts []string) []string {
	translated := make([]string, len(texts))
	for i, text := range texts {
		translated[i] = p.translate(of, text)
	}
	return translated
}

func assignments(environment map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		all = append(all, name+"="+environment[name])
	}
	return all
}
