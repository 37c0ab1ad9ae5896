package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver"
)

// healthTime bounds the time until a service is healthy.
const healthTime = 3 * time.Minute

// up starts all services, each when those that it depends on are healthy, and returns when all are. When one is not, all are
// ended.
func up(ctx context.Context, file, dir string, out io.Writer) error {
	present, err := remembered(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(present, running.alive) {
		return errors.New("it is up already: see status, or end it with down")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	binary, err := child.BuildStatic(ctx, filepath.Join(dir, "bin"), "./cmd/continuo")
	if err != nil {
		return err
	}
	p, err := load(ctx, file, dir, binary)
	if err != nil {
		return err
	}
	secrets := exec.CommandContext(ctx, filepath.Join(filepath.Dir(file), "secrets.sh"), append([]string{filepath.Join(dir, "secrets")}, p.addresses()...)...)
	if output, err := secrets.CombinedOutput(); err != nil {
		return fmt.Errorf("secrets.sh: %w: %s", err, output)
	}
	for name := range p.project.Services {
		if err := os.MkdirAll(filepath.Join(dir, "data", name), 0o700); err != nil {
			return err
		}
	}
	for name := range p.project.Volumes {
		if err := os.MkdirAll(filepath.Join(dir, "data", name), 0o700); err != nil {
			return err
		}
	}
	all, err := p.services(ctx)
	if errors.Is(err, testserver.ErrMissing) {
		return fmt.Errorf("%w; get it with: %s", err, testserver.Get)
	}
	if err != nil {
		return err
	}
	started, err := startAll(ctx, dir, all, out)
	if err != nil {
		slices.Reverse(started)
		_, stopErr := stop(started)
		return errors.Join(err, stopErr, os.Remove(stateFile(dir)))
	}
	return p.explain(out)
}

// startAll starts services wave by wave.
func startAll(ctx context.Context, dir string, all []service, out io.Writer) (started []running, err error) {
	healthy := map[string]bool{}
	for len(all) > 0 {
		var wave []running
		var rest []service
		for _, s := range all {
			if slices.ContainsFunc(s.after, func(name string) bool { return !healthy[name] }) {
				rest = append(rest, s)
				continue
			}
			r, err := begin(s)
			if err != nil {
				return started, err
			}
			wave, started = append(wave, r), append(started, r)
			if err := remember(dir, started); err != nil {
				return started, err
			}
		}
		if len(wave) == 0 {
			return started, fmt.Errorf("%s depends on a service that is left out", all[0].name)
		}
		for _, r := range wave {
			began := time.Now()
			if err := awaitHealthy(ctx, r); err != nil {
				return started, err
			}
			healthy[r.Name] = true
			fmt.Fprintf(out, "%-12s pid %-7d healthy after %.1f s more\n", r.Name, r.PID, time.Since(began).Seconds())
		}
		all = rest
	}
	return started, nil
}

func awaitHealthy(ctx context.Context, r running) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		err := r.healthy(ctx)
		if err == nil {
			return nil
		}
		if !r.alive() {
			return fmt.Errorf("%s ended before it was healthy\n%s", r.Name, logEnd(r.Log))
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy: %w\n%s", r.Name, err, logEnd(r.Log))
		}
	}
}

func logEnd(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// explain says how to use what runs, and writes a file that a shell can read.
func (p *plan) explain(out io.Writer) error {
	var rest, rpc string
	for _, name := range []string{"gateway-1", "continuo"} {
		if s, ok := p.project.Services[name]; ok {
			rest, rpc = "https://"+p.address(s, 7480), p.address(s, 7481)
		}
	}
	secrets := filepath.Join(p.dir, "secrets")
	environment := fmt.Sprintf("export CONTINUO_ADDR=%s CONTINUO_CA_FILE=%s/ca.crt CONTINUO_TOKEN_FILE=%s/operator.token CONTINUO_REST=%s PATH=%s:$PATH\n",
		rpc, secrets, secrets, rest, filepath.Dir(p.binary))
	file := filepath.Join(p.dir, "env")
	if err := os.WriteFile(file, []byte(environment), 0o600); err != nil {
		return err
	}
	if len(p.left) > 0 {
		fmt.Fprintf(out, "Left out, as there is no such server here: %s.\n", strings.Join(p.left, ", "))
	}
	fmt.Fprintf(out, `All are healthy. In a shell:
  . %s
  continuo workflow list
  curl --cacert "$CONTINUO_CA_FILE" -H "Authorization: Bearer $(cat "$CONTINUO_TOKEN_FILE")" $CONTINUO_REST/v1/workflows
`, file)
	return nil
}
