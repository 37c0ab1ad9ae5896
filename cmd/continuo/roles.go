package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/bench"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/internal/config"
)

// newClusterVerb makes a verb with the settings of a process over a broker.
func newClusterVerb(use, short, long string, run func(ctx context.Context, settings config.Server) error) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load(file, cmd.Flags())
			if err != nil {
				return err
			}
			return run(cmd.Context(), settings)
		},
	}
	config.ClusterFlags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", config.FileFromEnv(), "YAML file with settings (CONTINUO_CONFIG)")
	return cmd
}

// newRole makes the verb that runs one service, or several, as a process over a broker.
func newRole(a *app, use, short, long string, roles ...cluster.Role) *cobra.Command {
	var profiles string
	cmd := newClusterVerb(use, short, long, func(ctx context.Context, settings config.Server) error {
		if profiles != "" {
			stop, err := bench.ServeProfiles(ctx, profiles)
			if err != nil {
				return err
			}
			defer stop()
		}
		return a.runCluster(ctx, settings, roles)
	})
	cmd.Flags().StringVar(&profiles, "profile-socket", "", "unix socket to serve profiles on, for 'continuo bench'")
	_ = cmd.Flags().MarkHidden("profile-socket") // fails for unknown flags only
	return cmd
}

func newRoles(a *app) []*cobra.Command {
	return []*cobra.Command{
		newRole(a, "engine", "Run an engine over a broker", "Runs an engine over a broker: it decides what happens in runs. Several share the partitions of the log.", cluster.Engine),
		newRole(a, "scheduler", "Run a scheduler over a broker", "Runs a scheduler over a broker: timers, retries and who gets which work. One works, the others stand by.", cluster.Scheduler),
		newRole(a, "projector", "Run a projector over a broker", "Runs a projector over a broker: it keeps the read model. One works, the others stand by.", cluster.Projector),
		newRole(a, "gateway", "Run a gateway over a broker", "Runs a gateway over a broker: gRPC and REST for clients, streams for workers. Any number of them serve side by side.", cluster.Gateway),
		newRole(a, "all", "Run all services over a broker in one process", "Runs all services over a broker in one process. Several such processes share the work.", cluster.Roles()...),
	}
}

// runCluster runs services until ctx ends or one fails.
func (a *app) runCluster(ctx context.Context, settings config.Server, roles []cluster.Role) error {
	keepHeapRoom()
	if len(roles) > 1 { // beside a service that is alone nobody computes for long
		shareProcessors()
	}
	log := newLogger(a, settings)
	o := cluster.Options{
		Roles: roles, Name: compose.ProcessName(), Cluster: settings.Cluster, CacheDir: settings.Cache, HTTPAddr: settings.HTTPAddr, GRPCAddr: settings.GRPCAddr,
		RetentionHistory: settings.RetentionHistory, MaxPayloadBytes: settings.MaxPayloadBytes, DrainTimeout: settings.DrainTimeout, Version: versionText(), Logger: log,
	}
	if err := settings.ValidateCluster(o.Has(cluster.Gateway) || o.Has(cluster.Projector)); err != nil {
		return err
	}
	var err error
	if o.Door, err = openDoor(settings, log); err != nil {
		return err
	}
	var endTraces func()
	if o.Tracer, endTraces, err = openTraces(ctx, settings, "continuo-"+joined(roles), log); err != nil {
		return err
	}
	defer endTraces()
	broker, err := pulsar.Open(ctx, pulsarOptions(settings, log))
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }() // nothing is on its way any more
	o.Log = broker
	closeObjects, err := openObjects(ctx, &o, settings)
	if err != nil {
		return err
	}
	defer closeObjects()
	closeModel, err := openModel(&o, settings)
	if err != nil {
		return err
	}
	defer closeModel()
	process, err := cluster.Start(ctx, o)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; is another process running here? Choose other ports with --http-addr and --grpc-addr", err)
	}
	if err != nil {
		return startFailed(ctx, log, err)
	}
	log.Info("serving", slog.String("roles", joined(roles)), slog.String("http_addr", process.HTTPAddr()), slog.String("grpc_addr", process.GRPCAddr()))
	return runUntil(ctx, log, settings, process)
}

func joined(roles []cluster.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ",")
}
