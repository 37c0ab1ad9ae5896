package child_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/child"
)

func start(t *testing.T, script string) (*child.Process, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	process, err := child.Start(child.Program{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Kill() })
	return process, log
}

func TestExitCodeAndLog(t *testing.T) {
	t.Parallel()
	process, log := start(t, "echo said; exit 3")
	if err := process.Err(); err == nil || !strings.Contains(err.Error(), "shell: exit status 3") {
		t.Fatalf("ended with %v, want exit status 3", err)
	}
	if text, _ := os.ReadFile(log); string(text) != "said\n" {
		t.Fatalf("log is %q", text)
	}
	if err := process.Kill(); err != nil {
		t.Fatalf("kill of one that is gone: %v", err)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	t.Parallel()
	process, log := start(t, "trap '' TERM; echo trapped; while :; do :; done")
	for text := ""; !strings.Contains(text, "trapped"); {
		read, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		text = string(read)
	}
	if err := process.Stop(10 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Fatalf("stopped with %v, want that it was killed", err)
	}
}

func TestUsageIsMeasured(t *testing.T) {
	t.Parallel()
	process, _ := start(t, "while :; do :; done")
	for used := time.Duration(0); used < 20*time.Millisecond; {
		var err error
		if used, err = process.CPU(); err != nil {
			t.Fatal(err)
		}
	}
	if rss, err := process.RSS(); err != nil || rss < 100<<10 {
		t.Fatalf("RSS is %d, %v", rss, err)
	}
	if err := process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-process.Gone()
}
