package client

import (
	"cmp"
	"context"
	"slices"
	"time"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
)

// sleep waits for d; it reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func sortCalls(calls []*apiv1.ClientCall) {
	slices.SortFunc(calls, func(a, b *apiv1.ClientCall) int { return cmp.Compare(a.GetCall(), b.GetCall()) })
}
