package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/chaos/audit"
	"github.com/continuo-dev/continuo/internal/child"
)

// System is what is killed and what has to keep its promises all the same: one server, or the processes of a cluster.
type System struct {
	// Addr is where clients and workers connect to: host:port, or several with commas between.
	Addr string
	// Parts are its processes, those of services first.
	Parts []Part
	// Check looks at what the system has left when it has stopped.
	Check func(ctx context.Context) ([]audit.Violation, error)
}

// Part is one process of a system, which comes back each time that it was ended. The methods of testservers and of
// [child.Server] are these.
type Part struct {
	Name string
	// Broker and ReadStore tell what it is if it is no service.
	Broker, ReadStore bool
	// Process is the one that runs now.
	Process func() *child.Process
	// Spawn starts it, Restart also waits until it is ready. Spawn is for services.
	Spawn   func() error
	Restart func(ctx context.Context) error
	// Stop ends it in order.
	Stop func() error
}

func (p *Part) kind() kind {
	switch {
	case p.Broker:
		return onBroker
	case p.ReadStore:
		return onReadStore
	default:
		return onService
	}
}

// PartOf is a part that runs a verb of the program.
func PartOf(name string, s *child.Server) Part {
	return Part{
		Name: name, Process: func() *child.Process { return s.Process }, Spawn: s.Spawn, Restart: s.Restart,
		Stop: func() error { return s.Stop(stopTime) },
	}
}

// end kills the part, or stops it in order.
func (p *Part) end(inOrder bool) error {
	if inOrder {
		return p.Stop()
	}
	return p.Process().Kill()
}

// alive fails when a process has ended that nobody killed.
func alive(name string, process *child.Process) error {
	select {
	case <-process.Gone():
		return fmt.Errorf("%s ended by itself: %w (exit without error if nothing follows)", name, process.Err())
	default:
		return nil
	}
}

// pause stops a process for a while.
func (c *campaign) stopFor(ctx context.Context, process *child.Process, d time.Duration) error {
	err := process.Signal(syscall.SIGSTOP)
	c.pause(ctx, d)
	return errors.Join(err, process.Signal(syscall.SIGCONT))
}

// Embedded starts one server with an embedded store in a directory, which it checks when it has stopped.
func Embedded(ctx context.Context, binary, dir string) (*System, error) {
	data := filepath.Join(dir, "data")
	server, err := child.StartServer(ctx, child.ServerOptions{Binary: binary, Dir: data, Log: filepath.Join(dir, "server.log")})
	if err != nil {
		if server != nil && server.Process != nil {
			err = errors.Join(err, server.Kill())
		}
		return nil, err
	}
	return &System{
		Addr: server.GRPCAddr, Parts: []Part{PartOf("server", server)},
		Check: func(ctx context.Context) ([]audit.Violation, error) { return checkStore(ctx, binary, data) },
	}, nil
}

// checkStore has the program judge its own store.
func checkStore(ctx context.Context, binary, data string) ([]audit.Violation, error) {
	wrong := func(format string, args ...any) []audit.Violation {
		return []audit.Violation{{Rule: "store", Where: "store check", What: fmt.Sprintf(format, args...)}}
	}
	var stdout, stderr strings.Builder
	check := exec.CommandContext(ctx, binary, "store", "check", "--data", data, "--output", "json")
	check.Stdout, check.Stderr = &stdout, &stderr
	if err := check.Run(); err != nil {
		return wrong("%v\n%s%s", err, stdout.String(), stderr.String()), nil
	}
	var report struct {
		Whole     bool `json:"whole"`
		CleanStop bool `json:"clean_stop"`
		Rows      []struct {
			Name string `json:"name"`
			Rows int64  `json:"rows"`
		} `json:"rows"`
	}
	if err := json.Unmarshal([]byte(stdout.String()), &report); err != nil {
		return nil, fmt.Errorf("store check says %q: %w", stdout.String(), err)
	}
	var found []audit.Violation
	if !report.Whole || !report.CleanStop {
		found = append(found, wrong("%s", stdout.String())...)
	}
	for _, row := range report.Rows {
		if (strings.HasPrefix(row.Name, "due items") || row.Name == "quarantined runs") && row.Rows > 0 {
			found = append(found, wrong("all runs have ended, and there are %d %s", row.Rows, row.Name)...)
		}
	}
	return found, nil
}
