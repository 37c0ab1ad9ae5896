package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// shell describes a child that runs a script and is ready when its log says so.
func shell(f *fleet, name, script string) *process {
	p := f.add(name, "/bin/sh", nil, "-c", script)
	p.ready = func(context.Context) bool {
		log, err := os.ReadFile(p.log)
		return err == nil && strings.Count(string(log), "ready") == p.restarts+1
	}
	return p
}

func TestFleet(t *testing.T) {
	t.Parallel()
	ctx, lost := context.WithCancelCause(t.Context())
	f := newFleet(t.TempDir(), lost)
	polite := shell(f, "polite", `trap "exit 0" TERM; echo ready; while :; do sleep 0.01; done`)
	stubborn := shell(f, "stubborn", `trap "" TERM; echo ready; while :; do sleep 0.01; done`)
	never := f.add("never", "/bin/sh", nil)
	for _, p := range []*process{polite, stubborn} {
		if err := f.start(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.kill(polite); err != nil {
		t.Fatal(err)
	}
	polite.restarts++
	if err := f.start(ctx, polite); err != nil {
		t.Fatalf("start after a kill: %v", err)
	}
	if killed := f.stop(300 * time.Millisecond); !slices.Equal(killed, []string{"stubborn"}) {
		t.Errorf("had to kill %v, want the stubborn one alone", killed)
	}
	if ctx.Err() != nil {
		t.Errorf("%v, although every child ended because it was told to", context.Cause(ctx))
	}
	if never.cmd != nil {
		t.Error("a child was started that nobody asked for")
	}
}

func TestFleetTellsOfAChildThatEndsByItself(t *testing.T) {
	t.Parallel()
	ctx, lost := context.WithCancelCause(t.Context())
	f := newFleet(t.TempDir(), lost)
	defer f.stop(time.Second)
	err := f.start(ctx, shell(f, "broken", "exit 3"))
	if err == nil || !strings.Contains(err.Error(), "broken ended by itself") || !strings.Contains(err.Error(), "broken.log") {
		t.Errorf("start gave %v, want that it ended by itself and where its log is", err)
	}
}

func TestUntilSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	err := until(t.Context(), 30*time.Millisecond, "the moon", func(context.Context) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "the moon") {
		t.Errorf("got %v", err)
	}
}
