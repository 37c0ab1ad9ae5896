// Command continuo is the whole suite in one program: the server (embedded, nothing else installed) and the command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes of the program.
const (
	exitOK      = 0
	exitFailed  = 1 // the request was refused or could not be made, or a check found something wrong
	exitUsage   = 2 // the command line or the configuration is wrong
	exitNotDone = 3 // a waited-for run did not complete, or has not ended in time
)

// run is the program. SIGINT and SIGTERM end it in order, a second one at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.end(ctx, cmd, err)
}

// end says what went wrong, if anything did, and returns the exit code.
func (a *app) end(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if verdict, ok := errors.AsType[*verdictError](err); ok {
		_, _ = fmt.Fprintln(a.stderr, verdict.message)
		return verdict.exit
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
		_, _ = fmt.Fprintln(a.stderr, "Interrupted.")
		return exitFailed
	}
	_, _ = fmt.Fprintln(a.stderr, "Error: "+a.explain(err))
	switch {
	case errors.Is(err, config.ErrInvalid):
		return exitUsage
	case errors.Is(err, errUsage) || !a.began:
		_, _ = fmt.Fprintf(a.stderr, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// errUsage marks errors of the command line itself. Those that cobra finds do not have it: they come before a verb begins.
var errUsage = errors.New("usage")

// usage returns an error of the command line itself.
func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

type usageError struct{ message string }

func (e *usageError) Error() string        { return e.message }
func (e *usageError) Is(target error) bool { return target == errUsage }

// verdictError ends the program with an exit code of its own: nothing went wrong with the request, its answer is bad news.
type verdictError struct {
	exit    int
	message string
}

func (e *verdictError) Error() string { return e.message }

// explain turns an error into text for people: the message, the stable code of a server's refusal and, where there is one,
// the way out.
func (a *app) explain(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return strings.TrimSpace(err.Error()) // cobra's suggestions end with a line feed
	}
	refusal := wire.FromStatus(err)
	if st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		if strings.Contains(st.Message(), "authentication handshake failed") {
			return fmt.Sprintf("no TLS with %s: %s [%s]\nDoes the server speak TLS, is its certificate for this address, and is it signed by those of --ca-file (CONTINUO_CA_FILE), or the system's?",
				a.addr, handshakeError(st.Message()), events.Unavailable)
		}
		if !a.tls && a.caFile == "" && strings.Contains(st.Message(), "server preface") {
			return fmt.Sprintf("no gRPC server answers at %s: %s [%s]\nIt may speak TLS: try --tls, or --ca-file with the certificates to trust.",
				a.addr, dialError(st.Message()), events.Unavailable)
		}
		return fmt.Sprintf("no server answers at %s: %s [%s]\nIs one running there? Start one with 'continuo dev', or name its gRPC address with --addr or CONTINUO_ADDR.",
			a.addr, dialError(st.Message()), events.Unavailable)
	}
	text := refusal.Error()
	if refusal.RetryAfterMs > 0 {
		text += fmt.Sprintf("\nTry again in %d ms.", refusal.RetryAfterMs)
	}
	return text + hint(refusal.Code)
}

// hint returns the verb that helps after a refusal, on a line of its own.
func hint(code events.Code) string {
	switch code {
	case events.NotFound:
		return "\n'continuo workflow list' shows the runs there are; ended ones are forgotten after their retention."
	case events.Unauthenticated:
		return "\nName the file with your token with --token-file or CONTINUO_TOKEN_FILE."
	case events.ViewNotFound:
		return "\n'continuo workflow describe ID' shows the views there are."
	case events.Quarantined:
		return "\n'continuo workflow describe ID' shows why; 'continuo workflow release ID' lets it go on."
	case events.AlreadyOpen:
		return "\n--id-policy says what else a start may do: " + strings.Join(policies, ", ") + "."
	default:
		return ""
	}
}

// handshakeError takes from the text of a failed handshake what gRPC wraps around it.
func handshakeError(text string) string {
	_, cause, _ := strings.Cut(text, "authentication handshake failed: ")
	return strings.TrimSuffix(cause, `"`)
}

// dialError takes from the text of a failed dial what gRPC wraps around it.
func dialError(text string) string {
	if i := strings.LastIndex(text, `desc = "`); i >= 0 {
		text = strings.TrimSuffix(text[i+len(`desc = "`):], `"`)
	}
	return strings.TrimPrefix(text, "transport: Error while dialing: ")
}
