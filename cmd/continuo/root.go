package main

import (
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

// app is what every verb shares.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	addr           string
	output         string
	caFile         string
	tokenFile      string
	tls            bool
	// began says that the command line was understood and its verb runs.
	began bool
}

func newRoot(a *app) *cobra.Command {
	root := group("continuo", "Durable orchestration for event-driven services",
		newDev(a), newServe(a), newWorkflow(a), newStats(a), newWorker(a), newStore(a), newConfig(a), newBench(a), newHealth(a), newVersion(a))
	root.Long = "Continuo runs workflows written as plain Go and keeps them going through crashes, outages and deploys.\n\n" +
		"Begin with 'continuo dev': a server on this machine, nothing else needed."
	root.SilenceUsage, root.SilenceErrors = true, true
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(outputs, a.output) {
			return usage("--output is %q; use table or json", a.output)
		}
		return nil
	}
	root.AddCommand(append(newRoles(a), newPulsar(a), newReadModel(a), newAdmin(a))...)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.addr, "addr", fromEnv("CONTINUO_ADDR", "127.0.0.1:7481"), "gRPC address of the server (CONTINUO_ADDR)")
	flags.StringVarP(&a.output, "output", "o", fromEnv("CONTINUO_OUTPUT", "table"), "table or json (CONTINUO_OUTPUT)")
	flags.BoolVar(&a.tls, "tls", tlsFromEnv(), "connect with TLS ("+client.EnvTLS+"=true)")
	flags.StringVar(&a.caFile, "ca-file", fromEnv(client.EnvCAFile, ""), "certificates to trust instead of the system's (PEM), with TLS ("+client.EnvCAFile+")")
	flags.StringVar(&a.tokenFile, "token-file", fromEnv(client.EnvTokenFile, ""), "file with the token that the server wants ("+client.EnvTokenFile+")")
	offer(root, "output", outputs)
	a.watch(root)
	return root
}

// outputs are the values of --output.
var outputs = []string{"table", "json"} //nolint:gochecknoglobals // a fixed table

// watch notes when a verb of the tree begins, and completes the ids of those that want one.
func (a *app) watch(cmd *cobra.Command) {
	if strings.Contains(cmd.Use, " ID") {
		cmd.ValidArgsFunction = a.completeRuns
	}
	if verb := cmd.RunE; verb != nil && !cmd.HasAvailableSubCommands() {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return verb(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.watch(sub)
	}
}

// group is a command that has others and does nothing itself.
func group(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usage("there is no %q under '%s'; did you mean %s?", args[0], cmd.CommandPath(), strings.Join(near, " or "))
			}
			return usage("there is no %q under '%s'", args[0], cmd.CommandPath())
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// arguments wants exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return usage("%q is one argument too many: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// notNegative checks the value of a flag.
func notNegative(flag string, d time.Duration) error {
	if d < 0 {
		return usage("--%s is %s; it cannot be negative", flag, d)
	}
	return nil
}

func fromEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// tlsFromEnv reports whether the environment asks for TLS. A value that says neither yes nor no does: the safe side.
func tlsFromEnv() bool {
	value := os.Getenv(client.EnvTLS)
	wanted, err := strconv.ParseBool(value)
	return wanted || err != nil && value != ""
}

// maxAnswer bounds one answer of the server, in bytes. Pages of lists and histories stay far below it.
const maxAnswer = 64 << 20

// connect returns the API of the server that --addr names. It does not wait for the server.
func (a *app) connect() (apiv1.WorkflowServiceClient, func(), error) {
	if host, port, err := net.SplitHostPort(a.addr); err != nil || host == "" || port == "" {
		return nil, nil, usage("--addr is %q; use host:port, such as 127.0.0.1:7481", a.addr)
	}
	security, err := client.TLSConfig(a.tls, a.caFile)
	if err != nil {
		return nil, nil, usage("--ca-file: %s", err)
	}
	dial, err := client.Security(a.addr, client.Options{TLS: security, TokenFile: a.tokenFile})
	if err != nil {
		return nil, nil, usage("%s", err)
	}
	conn, err := grpc.NewClient(a.addr, append(dial, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))...)
	if err != nil {
		return nil, nil, usage("--addr is %q, which is not an address: %s", a.addr, err)
	}
	return apiv1.NewWorkflowServiceClient(conn), func() { _ = conn.Close() }, nil
}
