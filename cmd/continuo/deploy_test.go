package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/knadh/koanf/parsers/yaml"
)

// What is here is shown without containers: images cannot be pulled nor health checks be run where tests run.

const composeDir = "../../deploy/compose/"

// project loads a compose file with the parser of Docker Compose, which judges its form and that what it names is there.
func project(t *testing.T, file string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeDir + file})
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

var composeFiles = map[string][]string{ // with their services
	"compose.yaml": {
		"clickhouse", "engine-1", "engine-2", "gateway-1", "gateway-2", "grafana", "projector-1", "projector-2", "prometheus", "pulsar", "scheduler-1", "scheduler-2",
	},
	"compose.embedded.yaml": {"continuo"},
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	for file, want := range composeFiles {
		p := project(t, file)
		names := p.ServiceNames()
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("%s has the services %v, want %v", file, names, want)
		}
		published := map[string]string{}
		for name, s := range p.Services {
			if s.Restart != types.RestartPolicyUnlessStopped {
				t.Errorf("%s: %s is not started again when it ends: %q", file, name, s.Restart)
			}
			if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.StartPeriod == nil {
				t.Errorf("%s: %s has no health check with a start period", file, name)
			}
			if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
				t.Errorf("%s: the image of %s has no version: %s", file, name, s.Image)
			}
			if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s: %s may gain privileges", file, name)
			}
			for _, port := range s.Ports {
				if ip := net.ParseIP(port.HostIP); ip == nil || !ip.IsLoopback() {
					t.Errorf("%s: %s publishes port %s on %q, not on loopback", file, name, port.Published, port.HostIP)
				}
				if other := published[port.Published]; other != "" {
					t.Errorf("%s: %s and %s publish the same port %s", file, name, other, port.Published)
				}
				published[port.Published] = name
			}
			for other, dependency := range s.DependsOn {
				if dependency.Condition != types.ServiceConditionHealthy {
					t.Errorf("%s: %s does not wait until %s is healthy", file, name, other)
				}
			}
			for _, mount := range s.Volumes {
				if _, err := os.Stat(mount.Source); mount.Type == types.VolumeTypeBind && err != nil {
					t.Errorf("%s: %s mounts what is not there: %v", file, name, err)
				}
			}
		}
	}
}

var secretPath = regexp.MustCompile(`/run/secrets/([a-z.-]+)`)

// The secrets that a service names are given to it, none is given to one that does not, and secrets.sh makes them all.
func TestComposeSecrets(t *testing.T) {
	t.Parallel()
	dir := makeSecrets(t)
	for file := range composeFiles {
		p := project(t, file)
		for name, s := range p.Services {
			texts := slices.Concat([]string(s.Command), s.HealthCheck.Test)
			for _, value := range s.Environment {
				if value != nil {
					texts = append(texts, *value)
				}
			}
			if name == "prometheus" {
				texts = append(texts, read(t, composeDir+"prometheus.yml"))
			}
			named := map[string]bool{}
			for _, found := range secretPath.FindAllStringSubmatch(strings.Join(texts, "\n"), -1) {
				named[found[1]] = true
			}
			for _, secret := range s.Secrets {
				if !named[secret.Source] {
					t.Errorf("%s: %s is given %s and does not name it", file, name, secret.Source)
				}
				delete(named, secret.Source)
			}
			for secret := range named {
				t.Errorf("%s: %s names %s and is not given it", file, name, secret)
			}
		}
		for name, secret := range p.Secrets {
			if filepath.Base(secret.File) != name {
				t.Errorf("%s: secret %s is the file %s", file, name, secret.File)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: secrets.sh does not make %s so that containers can read it: %v", file, name, err)
			}
		}
	}
}

// makeSecrets runs secrets.sh, twice: the second time changes nothing.
func makeSecrets(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	var before string
	for range 2 {
		if output, err := exec.Command(composeDir+"secrets.sh", dir, "127.1.2.3", "example.org").CombinedOutput(); err != nil {
			t.Fatalf("secrets.sh: %v\n%s", err, output)
		}
		if now := read(t, dir+"/continuo.crt") + read(t, dir+"/tokens") + read(t, dir+"/pulsar.token"); before != "" && now != before {
			t.Error("secrets.sh made anew what was there")
		} else {
			before = now
		}
	}
	for _, private := range []string{"", "/ca.key", "/operator.token"} {
		if info, err := os.Stat(dir + private); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can read %s: %v", dir+private, err)
		}
	}
	return dir
}

// Every command of our image is one of the program, with flags that it has, and its environment is a configuration that a server
// starts with.
func TestComposeCommands(t *testing.T) {
	dir := makeSecrets(t)
	ours := 0
	for file := range composeFiles {
		for name, s := range project(t, file).Services {
			if s.Build == nil {
				continue
			}
			ours++
			if s.User != "65532:65532" || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
				t.Errorf("%s: %s is not bound: user %q, read only %v, drops %v", file, name, s.User, s.ReadOnly, s.CapDrop)
			}
			t.Run(file+"/"+name, func(t *testing.T) {
				for variable, value := range s.Environment {
					if !strings.HasPrefix(variable, "CONTINUO_") {
						t.Errorf("%s is no variable of ours", variable)
					}
					t.Setenv(variable, strings.ReplaceAll(*value, "/run/secrets/", dir+"/"))
				}
				accepted(t, s.Command)
				check := s.HealthCheck.Test
				if check[0] != "CMD" || check[1] != "/continuo" {
					t.Fatalf("the health check is %v", check)
				}
				accepted(t, check[2:])
				role, flags := s.Command[0], s.Command[1:]
				var out strings.Builder
				if code := run(t.Context(), append([]string{"config", "check", "--role", role}, flags...), strings.NewReader(""), &out, &out); code != exitOK {
					t.Errorf("continuo config check: %s", out.String())
				}
			})
		}
	}
	if ours != 9 {
		t.Errorf("%d services of ours, want 8 and 1", ours)
	}
}

// accepted holds a command line against the commands.
func accepted(t *testing.T, args []string) {
	t.Helper()
	cmd, rest, err := newRoot(&app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}).Find(args)
	if err != nil || cmd.HasSubCommands() {
		t.Fatalf("continuo %v is no command: %v", args, err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("continuo %v: %v", args, err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("continuo %v: %v", args, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Prometheus asks every process of ours, at an address that it has, as it wants to be asked.
func TestPrometheusAsksEveryProcess(t *testing.T) {
	t.Parallel()
	var config struct {
		ScrapeConfigs []struct {
			Scheme        string `json:"scheme"`
			Authorization struct {
				Type string `json:"type"`
				File string `json:"credentials_file"`
			} `json:"authorization"`
			TLS struct {
				CAFile string `json:"ca_file"`
			} `json:"tls_config"`
			Static []struct {
				Labels  map[string]string `json:"labels"`
				Targets []string          `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	parse(t, composeDir+"prometheus.yml", &config)
	missing := map[string]bool{}
	for name, s := range project(t, "compose.yaml").Services {
		if s.Build != nil {
			missing[name] = true
		}
	}
	for _, c := range config.ScrapeConfigs {
		if c.Scheme != "https" || c.Authorization.Type != "Bearer" || c.Authorization.File != "/run/secrets/prometheus.token" || c.TLS.CAFile != "/run/secrets/ca.crt" {
			t.Errorf("processes are asked with %+v", c)
		}
		for _, static := range c.Static {
			for _, target := range static.Targets {
				host, port, _ := strings.Cut(target, ":")
				if !missing[host] || port != "7480" || !strings.HasPrefix(host, static.Labels["service"]+"-") {
					t.Errorf("%s of %v is no process, or is asked twice", target, static.Labels)
				}
				delete(missing, host)
			}
		}
	}
	for name := range missing {
		t.Errorf("%s is not asked", name)
	}
}

// parse reads a YAML file by way of JSON.
func parse(t *testing.T, path string, into any) {
	t.Helper()
	tree, err := yaml.Parser().Unmarshal([]byte(read(t, path)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

var (
	metricName = regexp.MustCompile(`\b[a-z]+(?:_[a-z0-9]+)+\b`)
	// notOurs are words of queries that look like metrics, and metrics of every Go program, which every process here has.
	notOurs = []string{"histogram_quantile", "process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines"}
)

// The dashboard asks the data source that is provisioned, for metrics that docs/reference/metrics.md has. That page is compared with
// what processes show elsewhere.
func TestDashboardShowsMetricsThatExist(t *testing.T) {
	t.Parallel()
	var sources struct {
		Datasources []struct {
			UID string `json:"uid"`
			URL string `json:"url"`
		} `json:"datasources"`
	}
	parse(t, composeDir+"grafana/provisioning/datasources/prometheus.yaml", &sources)
	var provider struct {
		Providers []struct {
			Options struct {
				Path string `json:"path"`
			} `json:"options"`
		} `json:"providers"`
	}
	parse(t, composeDir+"grafana/provisioning/dashboards/continuo.yaml", &provider)
	mounted := slices.ContainsFunc(project(t, "compose.yaml").Services["grafana"].Volumes, func(v types.ServiceVolumeConfig) bool {
		return len(provider.Providers) == 1 && v.Target == provider.Providers[0].Options.Path && filepath.Base(v.Source) == "dashboards"
	})
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" || !mounted {
		t.Fatalf("provisioned are %+v and %+v", sources, provider)
	}
	var dashboard struct {
		Panels []struct {
			Title      string                  `json:"title"`
			Type       string                  `json:"type"`
			Datasource struct{ UID string }    `json:"datasource"`
			Targets    []struct{ Expr string } `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(read(t, composeDir+"grafana/dashboards/continuo.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	documented := read(t, "../../docs/reference/metrics.md")
	shown := 0
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			continue
		}
		if panel.Datasource.UID != sources.Datasources[0].UID || len(panel.Targets) == 0 {
			t.Errorf("%q asks %q for %d things", panel.Title, panel.Datasource.UID, len(panel.Targets))
		}
		for _, target := range panel.Targets {
			shown++
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				name = strings.TrimSuffix(name, "_bucket")
				if !slices.Contains(notOurs, name) && !strings.Contains(documented, "| `"+name+"` |") {
					t.Errorf("%q shows %s, which is no metric", panel.Title, name)
				}
			}
		}
	}
	if shown < 20 {
		t.Errorf("%d things are shown", shown)
	}
}

// The Dockerfile builds with the version of Go that the module wants, and what its image runs exists.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "../../deploy/Dockerfile")
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../../go.mod"))
	for _, want := range []string{
		"FROM golang:" + minor[1] + "-", "ENV CGO_ENABLED=0", "\nFROM scratch\n", "\nUSER 65532:65532\n", `ENTRYPOINT ["/continuo"]`, "-X main.version=",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q", want)
		}
	}
	commands := regexp.MustCompile(`(?m)CMD (\[.*\])$`).FindAllStringSubmatch(text, -1)
	if len(commands) != 2 {
		t.Fatalf("%d commands, want the health check's and the image's", len(commands))
	}
	for _, c := range commands {
		var args []string
		if err := json.Unmarshal([]byte(c[1]), &args); err != nil {
			t.Fatal(err)
		}
		accepted(t, slices.DeleteFunc(args, func(arg string) bool { return arg == "/continuo" }))
	}
}
