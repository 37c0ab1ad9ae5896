// Package child runs programs as child processes, for what can only be shown with real ones: benchmarks, kills, power cuts.
//
// A child gets a process group of its own (a Ctrl-C of the terminal is for the parent), is ended by the kernel when the
// parent dies, and logs to a file that goes on over restarts. Linux only.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is what to run.
type Program struct {
	Name string   // for messages
	Path string   // the executable
	Args []string // without the program's name
	Env  []string // added to the parent's environment
	Log  string   // file that standard output and error are appended to; empty: nowhere
}

// Process is a running child. Its methods may be called by several goroutines.
type Process struct {
	program Program
	cmd     *exec.Cmd
	gone    chan struct{}
	err     error // of Wait; read after gone
}

// Start starts a child.
func Start(p Program) (*Process, error) {
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // ended by Stop or Kill, in an order that the caller chooses
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.Log != "" {
		log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", p.Name, err)
		}
		defer func() { _ = log.Close() }() // the child has its own handle
		cmd.Stdout, cmd.Stderr = log, log
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	child := &Process{program: p, cmd: cmd, gone: make(chan struct{})}
	go func() {
		child.err = cmd.Wait()
		close(child.gone)
	}()
	return child, nil
}

// Name is the name of its program.
func (c *Process) Name() string { return c.program.Name }

// PID is its process id.
func (c *Process) PID() int { return c.cmd.Process.Pid }

// Gone is closed when the child has ended and was reaped.
func (c *Process) Gone() <-chan struct{} { return c.gone }

// Err says how it ended: nil for exit code 0. It waits for the end.
func (c *Process) Err() error {
	<-c.gone
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.program.Name, c.err)
	}
	return nil
}

// Kill ends it by SIGKILL and returns when it is gone. A child that is gone already is no error.
func (c *Process) Kill() error {
	if err := c.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.gone
	return nil
}

// Stop ends it by SIGTERM, and by SIGKILL when that takes longer than patience, which is an error; so is an exit code
// other than 0.
func (c *Process) Stop(patience time.Duration) error {
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.gone:
		return c.Err()
	case <-time.After(patience): //nolint:forbidigo // of a real process
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM and was killed", c.program.Name, patience), c.Kill())
	}
}

// Signal sends sig; SIGSTOP and SIGCONT make a pause. A child that is gone is no error.
func (c *Process) Signal(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to %s: %w", sig, c.program.Name, err)
	}
	return nil
}

// clockTicksPerSecond is USER_HZ, 100 on every Linux that Go supports.
const clockTicksPerSecond = 100

// CPU is the processor time it has used until now, user and system, in steps of 10 ms.
func (c *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	if err != nil {
		return 0, fmt.Errorf("cpu of %s: %w", c.program.Name, err)
	}
	// The name, in parentheses, may contain spaces; utime and stime are fields 14 and 15.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("cpu of %s: cannot read %q", c.program.Name, stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("cpu of %s: %w", c.program.Name, err)
	}
	return time.Duration(user+system) * time.Second / clockTicksPerSecond, nil
}

// RSS is the memory it has resident, in bytes.
func (c *Process) RSS() (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.PID()))
	if err != nil {
		return 0, fmt.Errorf("rss of %s: %w", c.program.Name, err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("rss of %s: cannot read %q", c.program.Name, statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("rss of %s: %w", c.program.Name, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
