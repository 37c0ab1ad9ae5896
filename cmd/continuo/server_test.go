package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for a process.
const patience = 30 * time.Second

type serverKey struct{}

// server is the server of a script: one process at a time.
type server struct {
	vars    []string // the environment that scripts begin with
	process *exec.Cmd
	out     bytes.Buffer
	log     strings.Builder
	logged  chan struct{} // closed when all of the log is there: the process has ended
}

// serverCommand starts a server on free ports, waits until it is ready and tells its addresses in CONTINUO_ADDR and HTTP:
// server dev|serve ARGS.
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: server dev|serve ARGS")
	}
	s := ts.Value(serverKey{}).(*server)
	if s.process != nil {
		ts.Fatalf("a server is running")
	}
	s.out.Reset()
	s.log.Reset()
	s.process = exec.Command("continuo", append(args, "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0")...)
	s.process.Env, s.process.Dir, s.process.Stdout = slices.Clone(s.vars), ts.MkAbs("."), &s.out
	for _, name := range []string{"XDG_DATA_HOME", "CONTINUO_CONFIG", "CONTINUO_DATA"} { // those that scripts set
		s.process.Env = append(s.process.Env, name+"="+ts.Getenv(name))
	}
	stderr, err := s.process.StderrPipe()
	ts.Check(err)
	ts.Check(s.process.Start())
	ts.Defer(func() {
		if s.process != nil {
			_ = s.process.Process.Kill()
			_ = s.end()
		}
	})
	addresses := make(chan []string, 1)
	s.logged = make(chan struct{})
	go s.readLog(stderr, addresses)
	select {
	case found := <-addresses:
		ts.Setenv("HTTP", "http://"+found[1])
		ts.Setenv("CONTINUO_ADDR", found[2])
		scheme := "http://"
		if slices.Contains(args, "--tls-cert-file") {
			scheme = "https://"
		}
		ts.Check(awaitReady(scheme + found[1] + "/readyz"))
	case <-s.logged:
		ts.Fatalf("the server ended: %s", s.log.String())
	case <-time.After(patience):
		ts.Fatalf("the server does not serve after %s", patience)
	}
}

var serving = regexp.MustCompile(`msg"?[=:]"?serving"?.*http_addr"?[=:]"?([0-9.:]+).*grpc_addr"?[=:]"?([0-9.:]+)`)

// readLog keeps all of the log, and passes the addresses on as soon as they are in it.
func (s *server) readLog(stderr io.Reader, addresses chan<- []string) {
	defer close(s.logged)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		s.log.WriteString(lines.Text() + "\n")
		if found := serving.FindStringSubmatch(lines.Text()); found != nil {
			addresses <- found
		}
	}
}

func awaitReady(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Who it is does not matter here: scripts look at that.
	anybody := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	defer anybody.CloseIdleConnections()
	asker := &http.Client{Transport: anybody}
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := asker.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, err)
		}
	}
}

// end waits for the end of the process.
func (s *server) end() error {
	<-s.logged // reading ends before Wait closes the pipe
	err := s.process.Wait()
	s.process = nil
	return err
}

// shutdownCommand ends the server, in order or with kill -9, and leaves what it printed in the files server.out and server.log:
// shutdown [kill].
func shutdownCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(serverKey{}).(*server)
	if neg || s.process == nil {
		ts.Fatalf("no server is running")
	}
	signal := syscall.SIGTERM
	if len(args) > 0 {
		signal = syscall.SIGKILL
	}
	ts.Check(s.process.Process.Signal(signal))
	err := s.end()
	ts.Check(os.WriteFile(ts.MkAbs("server.log"), []byte(s.log.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("server.out"), s.out.Bytes(), 0o600))
	if _, killed := errors.AsType[*exec.ExitError](err); killed && signal == syscall.SIGKILL {
		err = nil
	}
	if err != nil {
		ts.Fatalf("the server did not end well: %v\n%s", err, s.log.String())
	}
}

// restMain is a program that makes one HTTP request: rest METHOD URL [BODY].
func restMain() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: rest METHOD URL [BODY]")
		os.Exit(2)
	}
	request, err := http.NewRequestWithContext(context.Background(), os.Args[1], os.Args[2], strings.NewReader(strings.Join(os.Args[3:], " ")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	fmt.Println(answer.Status)
	fmt.Println(string(body))
	if err != nil || answer.StatusCode >= 400 {
		os.Exit(1)
	}
}
