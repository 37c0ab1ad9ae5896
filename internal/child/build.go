package child

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build builds a main package of this module, such as "./cmd/continuo", into dir and returns the executable. Flags go to
// `go build`. It is for tests and test tools, which run inside the module.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	const module = "github.com/continuo-dev/continuo"
	binary := filepath.Join(dir, filepath.Base(pkg))
	args := append(append([]string{"build", "-o", binary}, flags...), module+"/"+filepath.ToSlash(filepath.Clean(pkg)))
	if output, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, output)
	}
	return binary, nil
}
