package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// TestAStopWhileStartingIsInOrder shows it with a stop that is there before the start.
func TestAStopWhileStartingIsInOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	args := []string{"serve", "--data", t.TempDir(), "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"}
	if got := run(ctx, args, nil, discard{}, &errs); got != 0 || !strings.Contains(errs.String(), "stopped while starting") {
		t.Errorf("exit code %d and %q", got, errs.String())
	}
}
