// Command continuo is the whole suite in one program: the server (embedded, nothing else installed) and the command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

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
	exitFailed  = 1 // the request was refused or could not be made
	exitUsage   = 2 // the command line or the configuration is wrong
	exitNotDone = 3 // a waited-for run failed, was cancelled, or has not ended in time
)

// run is the program. SIGINT and SIGTERM end it in order, a second one at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var notDone *notDoneError
	if errors.As(err, &notDone) {
		if notDone.message != "" {
			_, _ = fmt.Fprintln(stderr, notDone.message)
		}
		return exitNotDone
	}
	_, _ = fmt.Fprintln(stderr, "Error: "+explain(err))
	if errors.Is(err, config.ErrInvalid) || errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// errUsage marks errors of the command line itself.
var errUsage = errors.New("usage")

// usage returns an error of the command line itself.
func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

type usageError struct{ message string }

func (e *usageError) Error() string        { return e.message }
func (e *usageError) Is(target error) bool { return target == errUsage }

// notDoneError ends the program with exitNotDone: the run's own outcome, not a fault of the request.
type notDoneError struct{ message string }

func (e *notDoneError) Error() string { return e.message }

// explain turns an error into one line for people: the message, the stable code and, where there is one, the way out.
func explain(err error) string {
	refusal := wire.FromStatus(err)
	var known *events.Error
	if !errors.As(refusal, &known) {
		return refusal.Error()
	}
	line := known.Error()
	if known.Code == events.Unavailable {
		line += "\nIs the server running? Start one with 'continuo dev', or name it with --addr or CONTINUO_ADDR."
	}
	if known.RetryAfterMs > 0 {
		line += fmt.Sprintf("\nTry again in %d ms.", known.RetryAfterMs)
	}
	return line
}
