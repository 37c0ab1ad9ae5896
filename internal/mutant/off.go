//go:build !mutants

package mutant

import "fmt"

// Built says whether this build has mutants.
const Built = false

// On reports whether the mutant is chosen: never in this build.
func On(ID) bool { return false }

// Chosen returns the name of the chosen mutant; "" means none, as always in this build.
func Chosen() string { return "" }

// Set chooses a mutant by its name; "" chooses none, which is all that this build can.
func Set(name string) error {
	if name == "" {
		return nil
	}
	return fmt.Errorf("mutant %q: this program was built without mutants; build it with -tags mutants", name)
}
