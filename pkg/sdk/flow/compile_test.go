package flow_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMistakesThatDoNotCompile type-checks code full of mistakes: every one must be an error of the compiler.
func TestMistakesThatDoNotCompile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("type-checks what the code imports")
	}
	const path = "testdata/compile/wrong/wrong.go"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	config := types.Config{Importer: exported(t, file), Error: func(err error) {
		if e, ok := err.(types.Error); ok { //nolint:errorlint // the checker gives nothing else
			found[fset.Position(e.Pos).Line] = e.Msg
		}
	}}
	_, _ = config.Check("wrong", fset, []*ast.File{file}, nil) // errors are found above
	for _, group := range file.Comments {
		for _, c := range group.List {
			if line := fset.Position(c.Pos()).Line; strings.TrimSpace(strings.TrimPrefix(c.Text, "//")) == "ERROR" {
				if _, refused := found[line]; !refused {
					t.Errorf("%s:%d compiles", path, line)
				}
				delete(found, line)
			}
		}
	}
	for line, msg := range found {
		t.Errorf("%s:%d: %s", path, line, msg)
	}
}

// exported imports packages from the export data that the go command has of them.
func exported(t *testing.T, file *ast.File) types.Importer {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for _, i := range file.Imports {
		args = append(args, strings.Trim(i.Path.Value, `"`))
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, export, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			files[name] = export
		}
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
}
