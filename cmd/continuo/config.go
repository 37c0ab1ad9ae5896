package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/continuo-dev/continuo/internal/cluster"
	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/door"
)

// roleServe is the server over an embedded store, beside the roles of a cluster.
const roleServe = "serve"

// rolesToCheck are the values of --role.
var rolesToCheck = []string{roleServe, string(cluster.Engine), string(cluster.Scheduler), string(cluster.Projector), string(cluster.Gateway), "all"} //nolint:gochecknoglobals // a fixed table

func newConfig(a *app) *cobra.Command {
	return group("config", "Print and check the configuration of servers", newConfigPrint(a), newConfigCheck(a))
}

func newConfigPrint(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration that holds, and where each value comes from",
		Long: "Prints every setting as a server that is started with the same file, environment and flags would have it, as YAML, with where the\n" +
			"value comes from. What is in the files that settings name is not printed, nor are passwords in URLs. Values are not judged.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, origins, err := config.Read(file, cmd.Flags())
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, settings.YAML(origins))
			return err
		},
	}
	configFlags(cmd, &file)
	return cmd
}

func newConfigCheck(a *app) *cobra.Command {
	var file, role string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with the configuration",
		Long: "Judges the configuration as a server would that is started in a role with the same file, environment and flags, and reads the files\n" +
			"that it names: certificates, keys, tokens and passwords. It connects to nothing. With problems it exits with 1.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(rolesToCheck, role) {
				return usage("--role is %q; use %s", role, strings.Join(rolesToCheck, ", "))
			}
			var found []error
			settings, _, err := config.Read(file, cmd.Flags())
			if err != nil {
				found = append(found, err)
			} else {
				found = problemsOf(settings, role)
			}
			for _, problem := range found {
				a.line(oneLine(strings.TrimPrefix(problem.Error(), config.ErrInvalid.Error()+": ")))
			}
			if len(found) > 0 {
				return &verdictError{exitFailed, fmt.Sprintf("Error: as it is configured, %s does not start: %s", role, count(int64(len(found)), "problem"))}
			}
			a.line("The configuration is good for " + role + ".")
			return nil
		},
	}
	configFlags(cmd, &file)
	cmd.Flags().StringVar(&role, "role", roleServe, "what is to run: "+strings.Join(rolesToCheck, ", "))
	offer(cmd, "role", rolesToCheck)
	return cmd
}

// configFlags declares the flags of all settings.
func configFlags(cmd *cobra.Command, file *string) {
	clusters := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(cmd.Flags())
	config.ClusterFlags(clusters)
	cmd.Flags().AddFlagSet(clusters) // those that are new
	cmd.Flags().StringVar(file, "config", config.FileFromEnv(), "YAML file with settings (CONTINUO_CONFIG)")
}

// problemsOf returns everything that keeps a role from starting, as far as it can be seen without connecting to anything.
func problemsOf(settings config.Server, role string) []error {
	found := settings.Problems()
	add := func(setting string, err error) {
		if err != nil {
			found = append(found, fmt.Errorf("%s: %w", setting, err))
		}
	}
	if settings.TLSCertFile != "" && settings.TLSKeyFile != "" {
		add("tls_cert_file, tls_key_file", checkPair(settings.TLSCertFile, settings.TLSKeyFile))
	}
	if settings.TokensFile != "" {
		text, err := os.ReadFile(settings.TokensFile)
		if err == nil {
			if _, err = door.ParseTokens(text); err != nil {
				err = fmt.Errorf("%s: %w", settings.TokensFile, err)
			}
		}
		add("tokens_file", err)
	}
	if role == roleServe {
		if settings.Data == "" {
			add("data", errors.New("serve needs a directory for its data: --data DIR or CONTINUO_DATA"))
		}
		return found
	}
	hasModel := role == "all" || role == string(cluster.Gateway) || role == string(cluster.Projector)
	found = append(found, settings.ClusterProblems(hasModel)...)
	if settings.PulsarCertFile != "" && settings.PulsarKeyFile != "" {
		add("pulsar_cert_file, pulsar_key_file", checkPair(settings.PulsarCertFile, settings.PulsarKeyFile))
	}
	add("pulsar_ca_file", checkFile(settings.PulsarCAFile, func(text []byte) error {
		if !x509.NewCertPool().AppendCertsFromPEM(text) {
			return errors.New("it has no certificate in PEM")
		}
		return nil
	}))
	add("pulsar_token_file", checkFile(settings.PulsarTokenFile, notEmpty))
	add("pulsar_oauth2_key_file", checkFile(settings.PulsarOAuth2KeyFile, oauth2Key))
	add("clickhouse_password_file", checkFile(settings.ClickHousePasswordFile, notEmpty))
	return found
}

// oauth2Key checks the file with which a client asks for its tokens.
func oauth2Key(text []byte) error {
	var key struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal(text, &key); err != nil || key.ID == "" || key.Secret == "" {
		return errors.New(`it is not JSON with "client_id" and "client_secret"`)
	}
	return nil
}

// checkFile reads a file that a setting names, if it names one.
func checkFile(path string, check func([]byte) error) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := check(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func notEmpty(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		return errors.New("it is empty")
	}
	return nil
}

// checkPair reads a certificate and its key, and looks whether it is its time.
func checkPair(certFile, keyFile string) error {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	pair, err := door.ReadPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", certFile, keyFile, err)
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return fmt.Errorf("%s: the certificate has expired at %s", certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return fmt.Errorf("%s: the certificate begins at %s", certFile, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
