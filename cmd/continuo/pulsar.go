package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/adapter/pulsar"
	"github.com/continuo-dev/continuo/internal/config"
)

// pulsarOptions are the options of the broker that the settings name.
func pulsarOptions(settings config.Server, log *slog.Logger) pulsar.Options {
	return pulsar.Options{
		URL: settings.Pulsar, AdminURL: settings.PulsarAdmin, Tenant: settings.PulsarTenant, Namespace: settings.PulsarNamespace,
		Partitions: settings.Partitions, TokenFile: settings.PulsarTokenFile, Logger: log.With(slog.String("service", "pulsar")),
		TLS: pulsar.TLS{CAFile: settings.PulsarCAFile, CertFile: settings.PulsarCertFile, KeyFile: settings.PulsarKeyFile},
		OAuth2: pulsar.OAuth2{
			Issuer: settings.PulsarOAuth2Issuer, Audience: settings.PulsarOAuth2Audience, Scope: settings.PulsarOAuth2Scope, KeyFile: settings.PulsarOAuth2KeyFile,
		},
	}
}

func newPulsar(a *app) *cobra.Command {
	return group("pulsar", "Set up and check the topics of a cluster on Pulsar",
		newPulsarVerb(a, "setup", "Create what is missing of the topics, as an identity with the rights to, and check the rest", pulsar.Setup),
		newPulsarVerb(a, "check", "Check tenant, namespace, topics, policies and rights; nothing is changed", pulsar.Check))
}

// newPulsarVerb makes a verb that prints findings. It fails when one of them keeps processes from working.
func newPulsarVerb(a *app, use, short string, look func(context.Context, pulsar.Options) ([]pulsar.Finding, error)) *cobra.Command {
	return newClusterVerb(use, short, "", func(ctx context.Context, settings config.Server) error {
		if settings.Pulsar == "" {
			return usage("name the broker with --pulsar pulsar://HOST:6650 or CONTINUO_PULSAR")
		}
		found, err := look(ctx, pulsarOptions(settings, newLogger(a, settings)))
		if err != nil {
			return err
		}
		fatal := 0
		for _, f := range found {
			mark := "note"
			if f.Fatal {
				mark = "WRONG"
				fatal++
			}
			a.line(fmt.Sprintf("%s  %s: %s. %s", mark, f.About, f.What, f.Fix))
		}
		if fatal > 0 {
			return &verdictError{exitFailed, fmt.Sprintf("%d findings keep processes from working.", fatal)}
		}
		a.line("The topics are as they have to be.")
		return nil
	})
}
