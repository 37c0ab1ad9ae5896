package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/bench"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/embedded"
)

func newServe(a *app) *cobra.Command {
	var file, profiles string
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run the server: all services in one process, over an embedded store",
		Long: "Runs all services in one process over the store in --data. SIGTERM ends it in order: it takes nothing new, answers what is\n" +
			"open, and closes the store. A second process on the same directory is refused.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load(file, cmd.Flags())
			if err != nil {
				return err
			}
			if settings.Data == "" {
				return usage("serve needs a directory for its data: --data DIR (or 'continuo dev' to try things)")
			}
			if profiles != "" {
				stop, err := bench.ServeProfiles(cmd.Context(), profiles)
				if err != nil {
					return err
				}
				defer stop()
			}
			return a.serve(cmd.Context(), settings, nil)
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", config.FileFromEnv(), "YAML file with settings (CONTINUO_CONFIG)")
	cmd.Flags().StringVar(&profiles, "profile-socket", "", "unix socket to serve profiles on, for 'continuo bench'")
	_ = cmd.Flags().MarkHidden("profile-socket") // fails for unknown flags only
	return cmd
}

func newDev(a *app) *cobra.Command {
	var (
		file string
		temp bool
	)
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a server for development, with a default directory",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load(file, cmd.Flags())
			if err != nil {
				return err
			}
			if temp && cmd.Flags().Changed("data") {
				return usage("--temp and --data exclude each other")
			}
			if temp {
				dir, err := os.MkdirTemp("", "continuo-dev-")
				if err != nil {
					return fmt.Errorf("cannot make a throw-away directory: %w", err)
				}
				defer func() { _ = os.RemoveAll(dir) }()
				settings.Data = filepath.Join(dir, "data")
			}
			if settings.Data == "" {
				if settings.Data, err = devDirectory(); err != nil {
					return err
				}
			}
			return a.serve(cmd.Context(), settings, func(s *embedded.Suite) { a.welcome(s, settings, temp) })
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", config.FileFromEnv(), "YAML file with settings (CONTINUO_CONFIG)")
	cmd.Flags().BoolVar(&temp, "temp", false, "use a directory that is deleted at the end")
	return cmd
}

// devDirectory is where 'continuo dev' keeps its data from one start to the next.
func devDirectory() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usage("there is no home directory for the data (%s): name one with --data, or use --temp", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "continuo", "dev"), nil
}

// serve runs the suite until ctx ends or it fails.
func (a *app) serve(ctx context.Context, settings config.Server, ready func(*embedded.Suite)) error {
	keepHeapRoom()
	shareProcessors()
	log := newLogger(a, settings)
	guard, err := openDoor(settings, log)
	if err != nil {
		return err
	}
	tracer, endTraces, err := openTraces(ctx, settings, "continuo", log)
	if err != nil {
		return err
	}
	defer endTraces()
	suite, err := embedded.Start(ctx, embedded.Options{
		Dir:              settings.Data,
		HTTPAddr:         settings.HTTPAddr,
		GRPCAddr:         settings.GRPCAddr,
		Door:             guard,
		Tracer:           tracer,
		RetentionHistory: settings.RetentionHistory,
		DiskReserveBytes: settings.DiskReserveBytes,
		MaxPayloadBytes:  settings.MaxPayloadBytes,
		DrainTimeout:     settings.DrainTimeout,
		Version:          versionText(),
		Log:              log,
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; is another server running? Stop it, or choose other ports with --http-addr and --grpc-addr", err)
	}
	if err != nil {
		return startFailed(ctx, log, err)
	}
	log.Info("serving", slog.String("http_addr", suite.HTTPAddr()), slog.String("grpc_addr", suite.GRPCAddr()), slog.String("data", settings.Data))
	if ready != nil {
		ready(suite)
	}
	return runUntil(ctx, log, settings, suite)
}

// startFailed returns why a process does not start; nothing when it was told to stop meanwhile: what was opened is closed.
func startFailed(ctx context.Context, log *slog.Logger, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) { // SIGTERM may come early
		log.Info("stopped while starting", slog.String("error", err.Error()))
		return nil
	}
	return err
}

// runUntil closes what runs when ctx ends, or when it stops by itself, and returns why that was.
func runUntil(ctx context.Context, log *slog.Logger, settings config.Server, runs interface {
	Done() <-chan struct{}
	Close() error
},
) error {
	select {
	case <-ctx.Done():
		log.Info("stopping", slog.Duration("at_most", settings.DrainTimeout))
	case <-runs.Done():
	}
	began := time.Now()
	err := runs.Close()
	log.Info("stopped", slog.Duration("took", time.Since(began)))
	return err
}

// openDoor reads what guards the addresses of a process.
func openDoor(settings config.Server, log *slog.Logger) (*door.Door, error) {
	guard, err := door.Open(door.Options{
		CertFile: settings.TLSCertFile, KeyFile: settings.TLSKeyFile, TokensFile: settings.TokensFile, InsecureOpenBind: settings.InsecureOpenBind,
		Clock: clock.Real(), Log: log.With(slog.String("service", "door")),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrInvalid, err)
	}
	return guard, nil
}

func newLogger(a *app, settings config.Server) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(settings.LogLevel)) // checked by the configuration
	options := &slog.HandlerOptions{Level: level}
	if settings.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}

// welcome greets a developer with what to do next.
func (a *app) welcome(s *embedded.Suite, settings config.Server, temp bool) {
	kept := "kept in " + settings.Data
	if temp {
		kept = "in " + settings.Data + ", deleted at the end"
	}
	a.line("\n  Continuo is ready.\n")
	a.line("  gRPC (SDK, workers, CLI)  " + s.GRPCAddr())
	web := "http://" + s.HTTPAddr()
	if settings.TLSCertFile != "" {
		web = "https://" + s.HTTPAddr()
	}
	a.line("  REST                      " + web + "/v1/workflows")
	a.line("  OpenAPI                   " + web + "/openapi.json")
	a.line("  metrics, health           " + web + "/metrics  /readyz")
	a.line("  data                      " + kept)
	a.line("\n  Next: start a worker, then  continuo workflow start --type YOUR.Type --input '{}' --wait")
	a.line("  Ctrl-C stops it; what is open goes on at the next start.\n")
}
