//go:build mutants

package mutant

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// Built says whether this build has mutants.
const Built = true

var chosen = fromEnvironment()

func fromEnvironment() *atomic.Uint32 {
	id, err := find(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Variable, err)
		os.Exit(2)
	}
	c := &atomic.Uint32{}
	c.Store(uint32(id))
	return c
}

// On reports whether the mutant is chosen. It may be called from any goroutine.
func On(id ID) bool { return ID(chosen.Load()) == id }

// Chosen returns the name of the chosen mutant; "" means none.
func Chosen() string {
	id := ID(chosen.Load())
	for _, m := range Catalogue() {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// Set chooses a mutant by its name, "" none, for code that begins after it returns. A name that is not in the catalogue is an
// error, and nothing changes.
func Set(name string) error {
	id, err := find(name)
	if err == nil {
		chosen.Store(uint32(id))
	}
	return err
}

func find(name string) (ID, error) {
	if name == "" {
		return 0, nil
	}
	names := make([]string, 0, len(catalogue))
	for _, m := range Catalogue() {
		if m.Name == name {
			return m.ID, nil
		}
		names = append(names, m.Name)
	}
	return 0, fmt.Errorf("no mutant is called %q; there are %s", name, strings.Join(names, ", "))
}
