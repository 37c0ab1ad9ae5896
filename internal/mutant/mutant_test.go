package mutant_test

import (
	"os"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/mutant"
)

// Every id is in the catalogue once, under a name of its own, and its guard is in the file that the catalogue names.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("mutant.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(code), "_ ID = iota")
	list, _, _ = strings.Cut(list, "\n)")
	var idents []string
	for line := range strings.Lines(list) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			idents = append(idents, line)
		}
	}
	all := mutant.Catalogue()
	if len(all) != len(idents) {
		t.Fatalf("%d mutants in the catalogue, %d ids", len(all), len(idents))
	}
	names := map[string]bool{}
	for i, m := range all {
		if m.ID != mutant.ID(i+1) {
			t.Errorf("%s has id %d at place %d", m.Name, m.ID, i+1)
		}
		if m.Name == "" || names[m.Name] || m.Broken == "" || m.Invariant == "" {
			t.Errorf("%q is not described, or is there twice", m.Name)
		}
		names[m.Name] = true
		file, err := os.ReadFile("../../" + m.File)
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(file), "mutant.On(mutant."+idents[i]+")") {
			t.Errorf("%s has no guard mutant.On(mutant.%s)", m.File, idents[i])
		}
	}
}

// A name that is not known is refused, and so is any name in a build without mutants.
//
//nolint:paralleltest // it chooses a mutant for the whole process
func TestSet(t *testing.T) {
	err := mutant.Set("no-such-mutant")
	if err == nil || !strings.Contains(err.Error(), "no-such-mutant") {
		t.Fatalf("Set of an unknown name: %v", err)
	}
	if mutant.Chosen() != "" || mutant.On(mutant.SkipStampDedup) {
		t.Fatal("a mutant is chosen after a refused Set")
	}
	if !mutant.Built {
		if mutant.Set("skip-stamp-dedup") == nil {
			t.Fatal("a build without mutants let one be chosen")
		}
		return
	}
	t.Cleanup(func() {
		if err := mutant.Set(""); err != nil {
			t.Error(err)
		}
	})
	if err := mutant.Set("skip-stamp-dedup"); err != nil {
		t.Fatal(err)
	}
	if !mutant.On(mutant.SkipStampDedup) || mutant.On(mutant.SkipStartDedup) || mutant.Chosen() != "skip-stamp-dedup" {
		t.Fatal("Set does not choose the one mutant")
	}
}
