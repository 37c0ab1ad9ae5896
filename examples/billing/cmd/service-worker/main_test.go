package main

import (
	"strings"
	"testing"
)

func TestAWorkerWithoutServicesIsRefused(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--payment") {
		t.Errorf("got %v, want an error that names a way out", err)
	}
}
