package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/adapter/clickhouse"
	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/embedded"
	"github.com/continuo-dev/continuo/services/projector"
)

func newReadModel(a *app) *cobra.Command {
	audit := newClusterVerb("audit", "Compare the read model with the log and the histories",
		"Compares every run in the read model with the fold of its history, and looks for runs that the model lacks. It prints each difference\n"+
			"(run, field, what the model has, what it should have) and how many there are, and exits with 1 when there are any. It changes nothing.\n\n"+
			"Over a broker it runs beside the services, with the settings of any of them. An embedded store (--data DIR) must be stopped.",
		a.auditModel)
	wait := true
	rebuild := newClusterVerb("rebuild", "Build the read model anew",
		"Has the read model built anew from histories and log. Over a broker the projector that works does that beside the old model, which\n"+
			"answers until the new one has come up to it and takes its place; the verb waits for that. Of an embedded store (--data DIR), which must\n"+
			"be stopped, the model is emptied, and the next start builds it.",
		func(ctx context.Context, settings config.Server) error { return a.rebuildModel(ctx, settings, wait) })
	rebuild.Flags().BoolVar(&wait, "wait", wait, "wait until the new model is in place")
	for _, verb := range []*cobra.Command{audit, rebuild} {
		verb.Flags().String("data", "", "directory of a stopped embedded store")
		_ = verb.MarkFlagDirname("data")
	}
	return group("readmodel", "Audit and rebuild what lists, counts and statistics are read from", audit, rebuild)
}

// auditReport is what an audit prints as JSON.
type auditReport struct {
	Runs        int               `json:"runs"`
	Differences int               `json:"differences"`
	Found       []modelDifference `json:"found"`
}

type modelDifference struct {
	RunID      string `json:"run_id"`
	WorkflowID string `json:"workflow_id"`
	Field      string `json:"field"`
	Has        string `json:"has"`
	Should     string `json:"should_have"`
}

// maxFound is how many differences are in the report as JSON; all are counted.
const maxFound = 10_000

func (a *app) auditModel(ctx context.Context, settings config.Server) error {
	report := auditReport{Found: []modelDifference{}}
	show := func(d projector.Difference) {
		if a.output != "json" {
			a.line(oneLine(fmt.Sprintf("%s %s %s: has %s, should have %s", d.WorkflowID, d.RunID, d.Field, d.Has, d.Should)))
		} else if len(report.Found) < maxFound {
			report.Found = append(report.Found, modelDifference{
				RunID: d.RunID.String(), WorkflowID: string(d.WorkflowID), Field: d.Field, Has: d.Has, Should: d.Should,
			})
		}
	}
	audit := a.auditCluster
	if settings.Data != "" {
		audit = func(ctx context.Context, settings config.Server, show func(projector.Difference)) (projector.Audited, error) {
			return embedded.AuditModel(ctx, settings.Data, show)
		}
	}
	done, err := audit(ctx, settings, show)
	if err != nil {
		return err
	}
	report.Runs, report.Differences = done.Runs, done.Differences
	if a.output == "json" {
		if err := a.json(report); err != nil {
			return err
		}
	} else {
		a.line(fmt.Sprintf("%s compared, %s", count(int64(done.Runs), "run"), count(int64(done.Differences), "difference")))
	}
	if done.Differences > 0 {
		return &verdictError{exitFailed, "Error: the read model is not as the log says; 'continuo readmodel rebuild' builds it anew"}
	}
	return nil
}

func (a *app) auditCluster(ctx context.Context, settings config.Server, show func(projector.Difference)) (done projector.Audited, err error) {
	if err := settings.ValidateCluster(true); err != nil {
		return done, err
	}
	log := newLogger(a, settings)
	broker, err := pulsar.Open(ctx, pulsarOptions(settings, log))
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	o := cluster.Options{Log: broker, Cluster: settings.Cluster, Logger: log}
	closeObjects, err := openObjects(ctx, &o, settings)
	if err != nil {
		return done, err
	}
	defer closeObjects()
	closeModel, err := openModel(&o, settings)
	if err != nil {
		return done, err
	}
	defer closeModel()
	return cluster.AuditModel(ctx, o, show)
}

// lookForRebuild is how often it is looked whether the new model is in place.
const lookForRebuild = 500 * time.Millisecond

func (a *app) rebuildModel(ctx context.Context, settings config.Server, wait bool) error {
	if settings.Data != "" {
		if err := embedded.DropModel(ctx, settings.Data); err != nil {
			return err
		}
		a.line("The read model is empty. The next start builds it anew: until then lists lack runs, and watermarks say so.")
		return nil
	}
	if settings.ClickHouse == "" {
		return usage("whose read model? Name the read store with --clickhouse URL, or a stopped embedded store with --data DIR")
	}
	password, err := settings.ClickHousePassword()
	if err != nil {
		return err
	}
	model, err := clickhouse.Open(clickhouse.Options{URL: settings.ClickHouse, Password: password})
	if err != nil {
		return err
	}
	defer func() { _ = model.Close() }() // it is asked for
	if err := model.AskRebuild(ctx); err != nil {
		return err
	}
	a.line("Asked for. The projector that works builds the new model beside the old one.")
	if !wait {
		return nil
	}
	began := time.Now()
	again := time.NewTicker(lookForRebuild)
	defer again.Stop()
	for {
		wish, err := model.RebuildAsked(ctx)
		if err != nil {
			return err
		}
		if wish == 0 {
			a.line(fmt.Sprintf("The new read model is in place, after %s.", time.Since(began).Round(time.Second)))
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
