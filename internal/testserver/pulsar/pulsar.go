// Package pulsar runs a real Apache Pulsar for tests: broker, bookie and metadata in one Java process on loopback.
package pulsar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
	"github.com/continuo-dev/continuo/internal/testserver"
)

// Options of a server. Zero fields mean the defaults.
type Options struct {
	// Dir keeps data, configuration and log; empty: a directory that is deleted after the test.
	Dir string
	// Addr and AdminAddr are host and port of the broker and of its web service; empty: free ones on loopback. The hosts must be
	// the same, a loopback IP address.
	Addr, AdminAddr string
	// Config are settings of standalone.conf beside or instead of the usual ones.
	Config map[string]string
	// Token is sent with the questions whether it is ready, for a broker that wants one.
	Token string
	// HeapMB and DirectMB bound the memory of the virtual machine; 0 means 192 MB each, with which it has about 400 MB resident.
	HeapMB, DirectMB int
	// Peak lets the virtual machine compile what is hot as well as it can: for measurements. Otherwise it starts in half the time.
	Peak bool

	jvm []string
}

// Server is a broker in a process of its own. It keeps its ports and data over restarts.
type Server struct {
	Addr      string // host and port of the broker
	AdminAddr string // host and port of its web service
	options   Options
	library   string

	mu      sync.Mutex
	process *child.Process
}

// errMissing says that the broker is not installed.
var errMissing = fmt.Errorf("Apache Pulsar %w", testserver.ErrMissing) //nolint:staticcheck // a name

// Start starts a server of the test's own, which ends with it. Where Pulsar is not installed the test is skipped.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	if options.Dir == "" {
		options.Dir = tb.TempDir()
	}
	s, err := start(tb.Context(), options)
	testserver.Skip(tb, err)
	tb.Cleanup(func() {
		if err := s.Kill(); err != nil { // nobody needs the data
			tb.Error(err)
		}
	})
	return s
}

// shared is the server that the tests of a binary share.
var shared testserver.Shared[*Server]

// Shared returns the one server that all tests of a binary share; the first one who asks starts it. Its TestMain ends with
// [Main]. Where Pulsar is not installed the test is skipped. Tests keep apart by tenants or namespaces of their own.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	return shared.Get(tb, func(ctx context.Context, dir string) (*Server, error) { return start(ctx, Options{Dir: dir}) })
}

// Main runs the tests of a binary and then ends the server they share. It returns the exit code.
func Main(m *testing.M) int { return shared.Main(m) }

// Run starts a server outside of a test; the caller ends it. It fails when Pulsar is not installed.
func Run(ctx context.Context, options Options) (*Server, error) { return start(ctx, options) }

// Command prepares a server in options.Dir, with data from before if there are any, and returns the program that is it, for one who
// starts it himself. It fails when Pulsar is not installed.
func Command(options Options) (child.Program, error) {
	s, err := newServer(options)
	if err != nil {
		return child.Program{}, err
	}
	return s.program(), nil
}

func start(ctx context.Context, options Options) (*Server, error) {
	s, err := newServer(options)
	if err != nil {
		return nil, err
	}
	return s, s.Restart(ctx)
}

func newServer(options Options) (*Server, error) {
	dir, err := testserver.Dir(cacheName)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: options.Addr, AdminAddr: options.AdminAddr, options: options, library: filepath.Join(dir, library)}
	if _, err := os.Stat(s.library); errors.Is(err, os.ErrNotExist) {
		return nil, errMissing
	}
	if _, err := exec.LookPath("java"); err != nil {
		return nil, fmt.Errorf("%w: there is no java (Debian: apt-get install openjdk-17-jre-headless)", errMissing)
	}
	for _, addr := range []*string{&s.Addr, &s.AdminAddr} {
		if *addr != "" {
			continue
		}
		ports, err := child.FreePorts(1)
		if err != nil {
			return nil, err
		}
		*addr = ports[0]
	}
	text, err := s.config()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"standalone.conf": text, "log4j2.xml": logging} {
		if err := os.WriteFile(filepath.Join(options.Dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// URL is what clients connect to, and AdminURL the web service.
func (s *Server) URL() string { return "pulsar://" + s.Addr }

// AdminURL is the URL of the web service.
func (s *Server) AdminURL() string { return "http://" + s.AdminAddr }

// LogFile is where the server logs to.
func (s *Server) LogFile() string { return filepath.Join(s.options.Dir, "pulsar.log") }

// Restart starts the server again, which must be gone, and waits until it can store messages. A server that was killed may come
// back with a bookie that is lost and found for ever; it is started once more then, in an orderly way.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err := s.begin(ctx)
	if errors.Is(err, errUnsettled) {
		if err := s.Stop(); err != nil {
			return err
		}
		err = s.begin(ctx)
	}
	if err != nil && s.Process() != nil {
		err = errors.Join(err, s.Kill())
	}
	return err
}

// errUnsettled says that a server which was ended by SIGKILL came back ill; see [settled].
var errUnsettled = errors.New("the bookie of the Pulsar process registers again and again")

// begin starts the process and waits until it is ready, or until it shows that its bookie does not stay.
func (s *Server) begin(ctx context.Context) error {
	before, err := os.ReadFile(s.LogFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	process, err := child.Start(s.program())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.process = process
	s.mu.Unlock()
	every := time.NewTicker(100 * time.Millisecond) //nolint:forbidigo // of a real process
	defer every.Stop()
	for {
		ready := s.ready(ctx)
		text, err := os.ReadFile(s.LogFile())
		switch {
		case err != nil:
			return err
		case !settled(text[min(len(before), len(text)):]):
			return errUnsettled
		case ready:
			return nil
		}
		select {
		case <-every.C:
		case <-process.Gone():
			return fmt.Errorf("the Pulsar process ended before it was ready: %w\n%s", process.Err(), s.logEnd())
		case <-ctx.Done():
			return fmt.Errorf("the Pulsar process is not ready: %w\n%s", context.Cause(ctx), s.logEnd())
		}
	}
}

// settled reports from what a server has logged since its start whether its bookie stays. After SIGKILL the metadata store still
// has the bookie's old registration and deletes it when someone reads it, whoever stands there then: where that hits the new
// one, the bookie registers again and the two go on, dozens of times a second, and a ledger can be made in between only. A
// server counts a bookie it finds twice for each of its two clients; one that was ended by SIGTERM leaves no registration.
func settled(log []byte) bool {
	return bytes.Count(log, []byte("Failed to resolve network location")) <= 16
}

// program is the Java process.
func (s *Server) program() child.Program {
	in := func(name string) string { return filepath.Join(s.options.Dir, name) }
	heap, direct := s.options.HeapMB, s.options.DirectMB
	if heap == 0 {
		heap = 192
	}
	if direct == 0 {
		direct = 192
	}
	args := append(arguments(heap, direct), s.options.jvm...)
	if !s.options.Peak {
		args = append(args, "-XX:TieredStopAtLevel=1")
	}
	if classes := filepath.Join(filepath.Dir(s.library), archive); len(s.options.jvm) == 0 {
		args = append(args, "-XX:SharedArchiveFile="+classes, "-Xlog:cds=off", "-Xlog:cds+dynamic=off") // one that does not fit is passed over
	}
	args = append(args, "-Dlog4j.configurationFile="+in("log4j2.xml"), "-cp", filepath.Join(s.library, "*"),
		"org.apache.pulsar.PulsarStandaloneStarter", "--config", in("standalone.conf"), "--metadata-dir", in("metadata"), "--bookkeeper-dir", in("bookkeeper"),
		"-nfw", "-nss", "-a", s.host())
	return child.Program{Name: "Pulsar", Path: "java", Args: args, Log: s.LogFile()}
}

func (s *Server) logEnd() string {
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// ready asks in the order in which things come: the cluster, the default namespace, and the broker's own check, which writes
// and reads a message.
func (s *Server) ready(ctx context.Context) bool {
	return strings.Contains(s.get(ctx, "/admin/v2/clusters"), "standalone") && s.get(ctx, "/admin/v2/namespaces/public/default") != "" &&
		s.get(ctx, "/admin/v2/brokers/health") == "ok"
}

// get returns the body of an answer, empty when there is none with status 200. It does not wait long: a broker that is not well
// may never answer, and its log says so meanwhile.
func (s *Server) get(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.AdminURL()+path, http.NoBody)
	if err != nil {
		return ""
	}
	if s.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+s.options.Token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// Process is the running process, or the last one.
func (s *Server) Process() *child.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Kill ends the server by SIGKILL.
func (s *Server) Kill() error { return s.Process().Kill() }

// Stop ends the server by SIGTERM, within a minute.
func (s *Server) Stop() error {
	process := s.Process()
	if err := process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-process.Gone(): // with exit code 143, which says no more than that it was asked to
		return nil
	case <-time.After(time.Minute): //nolint:forbidigo // of a real process
		return errors.Join(errors.New("the Pulsar process did not end within a minute of SIGTERM and was killed"), process.Kill())
	}
}

// Pause makes a server that does not answer, and Resume ends that: SIGSTOP and SIGCONT.
func (s *Server) Pause() error { return s.Process().Signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (s *Server) Resume() error { return s.Process().Signal(syscall.SIGCONT) }
