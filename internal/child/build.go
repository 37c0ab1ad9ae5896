package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds a main package of this module, such as "./cmd/continuo", into dir and returns the executable. Flags go to
// `go build`. It is for tests and test tools, which run inside the module.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	return build(ctx, os.Environ(), dir, pkg, flags)
}

// BuildStatic is Build without cgo.
func BuildStatic(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	return build(ctx, append(os.Environ(), "CGO_ENABLED=0"), dir, pkg, flags)
}

func build(ctx context.Context, env []string, dir, pkg string, flags []string) (string, error) {
	const module = "github.com/continuo-dev/continuo"
	binary := filepath.Join(dir, filepath.Base(pkg))
	args := append(append([]string{"build", "-o", binary}, flags...), module+"/"+filepath.ToSlash(filepath.Clean(pkg)))
	command := exec.CommandContext(ctx, "go", args...)
	command.Env = env
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, output)
	}
	return binary, nil
}
