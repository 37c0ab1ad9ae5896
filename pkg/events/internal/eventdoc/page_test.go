package eventdoc

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the page")

func TestReferenceIsFresh(t *testing.T) {
	t.Parallel()
	want, err := Page("../..")
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../../../docs/reference/events.md"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/reference/events.md is stale: run go generate ./pkg/events and commit it")
	}
}

func TestPageHasCommentsAndUnits(t *testing.T) {
	t.Parallel()
	page, err := Page("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### TaskScheduled\n\nKind 4. TaskScheduled says that",
		"| `offer_until_us` | Time |",
		"| `start_to_close_ns` | duration | StartToClose bounds one attempt",
		"| `failure` | Failure, optional |",
		"| `worker_lost` | the worker vanished",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
