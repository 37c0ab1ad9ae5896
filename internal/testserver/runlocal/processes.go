package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// running is a process that was started, as the state directory remembers it.
type running struct {
	Name  string        `json:"name"`
	PID   int           `json:"pid"`
	Begun uint64        `json:"begun"` // ticks since boot: another process may have the same id later
	Grace time.Duration `json:"grace_ns"`
	Log   string        `json:"log"`
	Check check         `json:"check"`
	Env   []string      `json:"env"`
}

// check says whether a process is healthy: a command that succeeds, or a URL that answers 200. The servers of the tests do not have
// what the commands of their images need.
type check struct {
	Command   []string `json:"command,omitempty"`
	URL       string   `json:"url,omitempty"`
	TokenFile string   `json:"token_file,omitempty"` // of the one who asks the URL
}

func stateFile(dir string) string { return filepath.Join(dir, "processes.json") }

// remembered reads the processes of a state directory, in the order in which they were started. None is no error.
func remembered(dir string) ([]running, error) {
	text, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []running
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", stateFile(dir), err)
	}
	return all, nil
}

func remember(dir string, all []running) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(stateFile(dir), text, 0o600)
}

// begun reads when a process began; ok is false when there is none, or only what its parent has not looked at yet.
func begun(pid int) (ticks uint64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // from the state on, which is field 3
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[19], 10, 64)
	return ticks, err == nil
}

func (r running) alive() bool {
	ticks, ok := begun(r.PID)
	return ok && ticks == r.Begun
}

// healthy runs the health check.
func (r running) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if r.Check.URL != "" {
		return r.Check.ask(ctx)
	}
	command := exec.CommandContext(ctx, r.Check.Command[0], r.Check.Command[1:]...)
	command.Env = r.Env
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

func (c check) ask(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, http.NoBody)
	if err != nil {
		return err
	}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // nothing was read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", c.URL, answer.Status)
	}
	return nil
}

// begin starts a service so that it outlives this program.
func begin(s service) (running, error) {
	log, err := os.OpenFile(s.program.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return running{}, err
	}
	defer func() { _ = log.Close() }()                         // the process has its own handle
	command := exec.Command(s.program.Path, s.program.Args...) //nolint:noctx // it outlives this program
	command.Env, command.Stdout, command.Stderr = s.program.Env, log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return running{}, fmt.Errorf("start %s: %w", s.name, err)
	}
	r := running{Name: s.name, PID: command.Process.Pid, Grace: s.grace, Log: s.program.Log, Check: s.check, Env: s.program.Env}
	r.Begun, _ = begun(r.PID)
	go func() { _ = command.Wait() }() // so that one that ends is seen as gone
	return r, nil
}

// stop ends processes in order: SIGTERM, and SIGKILL to those that take longer than their grace. It returns who was killed.
func stop(all []running) (killed []string, err error) {
	for _, r := range all {
		if !r.alive() {
			continue
		}
		if err := syscall.Kill(r.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("end %s: %w", r.Name, err)
		}
	}
	began := time.Now()
	for _, r := range all {
		for r.alive() && time.Since(began) < r.Grace {
			time.Sleep(20 * time.Millisecond)
		}
		if !r.alive() {
			continue
		}
		killed = append(killed, r.Name)
		if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("kill %s: %w", r.Name, err)
		}
		for r.alive() {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return killed, nil
}

// down ends what runs, the last started first, servers after those who use them.
func down(dir string, out io.Writer) error {
	all, err := remembered(dir)
	if err != nil || len(all) == 0 {
		fmt.Fprintln(out, "Nothing runs.")
		return err
	}
	slices.Reverse(all)
	users := slices.IndexFunc(all, func(r running) bool { return r.Name == "pulsar" || r.Name == "clickhouse" })
	if users < 0 {
		users = len(all)
	}
	ended := 0
	for _, r := range all {
		if r.alive() {
			ended++
		}
	}
	for _, group := range [][]running{all[:users], all[users:]} {
		killed, err := stop(group)
		if err != nil {
			return err
		}
		for _, name := range killed {
			fmt.Fprintf(out, "%s did not end in time and was killed.\n", name)
		}
	}
	fmt.Fprintf(out, "%d processes ended.\n", ended)
	return os.Remove(stateFile(dir))
}

// status tells how the processes are. It fails when one is not well.
func status(dir string, out io.Writer) error {
	all, err := remembered(dir)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("nothing runs")
	}
	bad := 0
	for _, r := range all {
		state := "healthy"
		if !r.alive() {
			state = "ended; see " + r.Log
		} else if err := r.healthy(context.Background()); err != nil {
			state = "not healthy: " + err.Error()
		}
		if state != "healthy" {
			bad++
		}
		fmt.Fprintf(out, "%-12s pid %-7d %s\n", r.Name, r.PID, state)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d are not well", bad, len(all))
	}
	return nil
}
