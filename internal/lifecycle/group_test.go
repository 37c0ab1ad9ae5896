package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/continuo-dev/continuo/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// untilStopped is a part that notes its end, which takes a while.
func (d *diary) untilStopped(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second) // in the bubble
		d.note(name + " ended")
		return ctx.Err()
	}
}

func TestStopsInReverseOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var g lifecycle.Group
		for _, name := range []string{"store", "engine", "gateway"} {
			g.Add(name, d.untilStopped(name))
		}
		g.Start(t.Context())
		g.Start(t.Context())
		g.Add("late", d.untilStopped("late"))
		g.Stop()
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("a clean stop reports %v", err)
		}
		if want := []string{"late ended", "gateway ended", "engine ended", "store ended"}; !slices.Equal(d.lines, want) {
			t.Errorf("parts ended as %q, want %q", d.lines, want)
		}
	})
}

func TestFirstErrorStopsTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var g lifecycle.Group
		g.Add("engine", func(ctx context.Context) error {
			<-ctx.Done()
			d.note("engine ended")
			return errors.New("a later error")
		})
		g.Add("once", func(context.Context) error { return nil })
		g.Add("gateway", func(context.Context) error {
			time.Sleep(time.Minute)
			return errBroken
		})
		err := g.Run(t.Context())
		if !errors.Is(err, errBroken) || err.Error() != "gateway: broken" {
			t.Errorf("Run reports %v", err)
		}
		if want := []string{"engine ended"}; !slices.Equal(d.lines, want) {
			t.Errorf("happened: %q", d.lines)
		}
		<-g.Stopping()
	})
}

func TestEndOfTheContextStopsInReverse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var g lifecycle.Group
		g.Add("store", d.untilStopped("store"))
		g.Add("engine", d.untilStopped("engine"))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run reports %v", err)
		}
		if want := []string{"engine ended", "store ended"}; !slices.Equal(d.lines, want) {
			t.Errorf("parts ended as %q", d.lines)
		}
	})
}

func TestStoppedBeforeStarted(t *testing.T) {
	t.Parallel()
	var g lifecycle.Group
	never := func(context.Context) error { panic("a part of a stopped group ran") }
	g.Add("never", never)
	g.Stop()
	g.Start(t.Context())
	g.Add("never either", never)
	if err := g.Wait(); err != nil {
		t.Errorf("Wait reports %v", err)
	}
}

func TestPartsAreLabelled(t *testing.T) {
	t.Parallel()
	var g lifecycle.Group
	label := make(chan string, 1)
	g.Add("wheel", func(ctx context.Context) error {
		value, _ := pprof.Label(ctx, "part")
		label <- value
		return nil
	})
	g.Start(t.Context())
	if got := <-label; got != "wheel" {
		t.Errorf("the label is %q", got)
	}
	g.Stop()
}

// Start, Stop, Add, Wait and failures at once: everything ends, and what was started has ended when Stop returns.
func TestStress(t *testing.T) {
	t.Parallel()
	for round := range 200 {
		var g lifecycle.Group
		var running sync.WaitGroup
		part := func(ctx context.Context) error {
			running.Add(1)
			defer running.Done()
			if round%5 == 0 {
				return errBroken
			}
			<-ctx.Done()
			return ctx.Err()
		}
		var callers sync.WaitGroup
		for i := range 3 {
			callers.Go(func() { g.Add(fmt.Sprint("part ", i), part) })
			callers.Go(func() { g.Start(t.Context()) })
			callers.Go(g.Stop)
			callers.Go(func() {
				if err := g.Wait(); err != nil && !errors.Is(err, errBroken) {
					t.Errorf("Wait reports %v", err)
				}
			})
		}
		callers.Wait()
		running.Wait()
	}
}
