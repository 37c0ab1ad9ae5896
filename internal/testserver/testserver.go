// Package testserver says where the real servers for tests are kept. Its sub-packages install, start and stop one each.
package testserver

import (
	"fmt"
	"os"
	"path/filepath"
)

// Get is the command that installs what a test misses.
const Get = "make testdeps"

// Dir returns the directory of a thing that tests need; its name includes a version, so that another version is another
// directory. It may not exist. All checkouts of a user share it.
func Dir(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where test servers are kept: %w", err)
	}
	return filepath.Join(cache, "continuo", "testdeps", name), nil
}
