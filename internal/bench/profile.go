package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kinds are the profiles that are written beside that of the processor.
func kinds() []string { return []string{"allocs", "mutex", "block"} }

// Rates of the profiles of waiting while they are wanted: one of so many contended locks, one event per so many
// nanoseconds of blocking.
const (
	mutexFraction = 10
	blockRate     = 10_000
)

// ServeProfiles serves profiles of this process on a unix socket, which only its user can open, until ctx ends. Nothing
// is measured until somebody asks. It is for the processes of a benchmark; a server has no such socket unless it is started
// with one.
func ServeProfiles(ctx context.Context, socket string) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("socket for profiles: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("socket for profiles: %w", err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.ParseFloat(r.FormValue("seconds"), 64)
		if err == nil {
			err = profileCPU(r.Context(), w, time.Duration(seconds*float64(time.Second)))
		}
		refuse(w, err)
	})
	mux.HandleFunc("/waiting", func(http.ResponseWriter, *http.Request) { profileWaiting() })
	mux.HandleFunc("/collect", func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() })
	for _, kind := range kinds() {
		mux.HandleFunc("/"+kind, func(w http.ResponseWriter, _ *http.Request) { refuse(w, pprof.Lookup(kind).WriteTo(w, 0)) })
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	return func() {
		_ = server.Close()
		served.Wait()
	}, nil
}

func refuse(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// profileWaiting begins to profile contended locks and blocking.
func profileWaiting() {
	runtime.SetMutexProfileFraction(mutexFraction)
	runtime.SetBlockProfileRate(blockRate)
}

// profileCPU writes where this process spends its processor time in the next d.
func profileCPU(ctx context.Context, w io.Writer, d time.Duration) error {
	if err := pprof.StartCPUProfile(w); err != nil {
		return err
	}
	sleep(ctx, d)
	pprof.StopCPUProfile()
	return nil
}

// ask makes a request to the profile socket of a process and writes the answer to a file, or nowhere if path is empty.
func ask(ctx context.Context, socket, what, path string) (err error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://process/"+what, http.NoBody)
	if err != nil {
		return fmt.Errorf("profile %s: %w", what, err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("profile %s: %w", what, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("profile %s: %s, %w", what, answer.Status, err)
	}
	if path == "" {
		return nil
	}
	return os.WriteFile(path, body, 0o600)
}

// profiled are the processes of the lab, by name, with their profile sockets.
func (l *lab) profiled() map[string]string {
	found := map[string]string{}
	if l.server != nil {
		found["server"] = l.socket("server")
	}
	if l.suite != nil {
		for _, m := range l.suite.members {
			found[strings.TrimSuffix(filepath.Base(m.socket), ".sock")] = m.socket
		}
	}
	for n := range l.workers {
		found["worker"+strconv.Itoa(n+1)] = l.socket("worker" + strconv.Itoa(n+1))
	}
	return found
}

func (l *lab) socket(process string) string { return filepath.Join(l.dir, process+".sock") }

// profileMemory writes what the server has in memory now, if profiles are wanted: as a profile of allocations, which has
// what is in use, too.
func (l *lab) profileMemory(ctx context.Context, when string) error {
	if l.options.Profile == "" || l.server == nil {
		return nil
	}
	return ask(ctx, l.socket("server"), "allocs", filepath.Join(l.options.Profile, l.result.Workload+".server."+when+".pprof"))
}

// profile begins to write profiles of the measured time, if they are wanted, and returns what waits until they are
// written.
func (l *lab) profile(ctx context.Context) (finish func() error) {
	if l.options.Profile == "" {
		return func() error { return nil }
	}
	var (
		all    sync.WaitGroup
		errs   = make([]error, 0, 8)
		mu     sync.Mutex
		failed = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
		file = func(process, kind string) string {
			return filepath.Join(l.options.Profile, strings.Join([]string{l.result.Workload, process, kind, "pprof"}, "."))
		}
		cpu = fmt.Sprintf("cpu?seconds=%g", l.options.Duration.Seconds())
	)
	profileWaiting()
	all.Go(func() {
		f, err := os.Create(file("client", "cpu"))
		if err != nil {
			failed(err)
			return
		}
		failed(errors.Join(profileCPU(ctx, f, l.options.Duration), f.Close()))
	})
	processes := l.profiled()
	for name, socket := range processes {
		all.Go(func() {
			failed(ask(ctx, socket, "waiting", ""))
			failed(ask(ctx, socket, cpu, file(name, "cpu")))
		})
	}
	return func() error {
		all.Wait()
		for _, kind := range kinds() {
			for name, socket := range processes {
				failed(ask(ctx, socket, kind, file(name, kind)))
			}
			f, err := os.Create(file("client", kind))
			if err != nil {
				failed(err)
				continue
			}
			failed(errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close()))
		}
		return errors.Join(errs...)
	}
}
