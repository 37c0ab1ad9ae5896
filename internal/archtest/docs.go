package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// checkDocumented wants a doc comment on every package and on every exported function, method, type, interface method,
// constant and variable in the given Go files. Constants and variables may share one comment per group; an interface
// method may share the comment of the one directly above it. Test files, generated files and commands are not asked,
// commands except for their package comment.
func checkDocumented(sources []source) ([]finding, error) {
	var findings []finding
	described := make(map[string]bool) // directory → has a package comment
	example := make(map[string]string) // directory → one file
	for _, s := range sources {
		if !strings.HasSuffix(s.path, ".go") || strings.HasSuffix(s.path, "_test.go") || inTestdata(s.path) || isGenerated(s) {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, s.path, s.content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		dir := path.Dir(s.path)
		example[dir] = s.path
		described[dir] = described[dir] || file.Doc != nil
		if file.Name.Name == "main" {
			continue
		}
		for _, what := range undocumented(fset, file) {
			findings = append(findings, finding{at(s.path, what.line), what.name + " is exported and has no doc comment"})
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(example)) {
		if !described[dir] {
			findings = append(findings, finding{example[dir], "no file of the package has a package comment"})
		}
	}
	return findings, nil
}

type named struct {
	name string
	line int
}

func undocumented(fset *token.FileSet, file *ast.File) []named {
	var found []named
	missing := func(name string, n ast.Node) {
		found = append(found, named{name, fset.Position(n.Pos()).Line})
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			receiver := receiverName(d)
			if d.Doc == nil && d.Name.IsExported() && (receiver == "" || ast.IsExported(receiver)) {
				missing(strings.TrimPrefix(receiver+"."+d.Name.Name, "."), d)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if !s.Name.IsExported() {
						continue
					}
					if s.Doc == nil && (d.Doc == nil || len(d.Specs) > 1) {
						missing(s.Name.Name, s)
					}
					if i, ok := s.Type.(*ast.InterfaceType); ok {
						found = append(found, undocumentedMethods(fset, s.Name.Name, i)...)
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							missing(name.Name, name)
						}
					}
				}
			}
		}
	}
	return found
}

func undocumentedMethods(fset *token.FileSet, of string, i *ast.InterfaceType) []named {
	var found []named
	documentedLine := -1
	for _, method := range i.Methods.List {
		line := fset.Position(method.Pos()).Line
		covered := method.Doc != nil || method.Comment != nil || line == documentedLine+1
		if covered {
			documentedLine = fset.Position(method.End()).Line
		}
		for _, name := range method.Names {
			if name.IsExported() && !covered {
				found = append(found, named{of + "." + name.Name, line})
			}
		}
	}
	return found
}

// receiverName is the type that d is a method of, or "".
func receiverName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	t := d.Recv.List[0].Type
	for {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		case *ast.IndexListExpr:
			t = inner.X
		case *ast.ParenExpr:
			t = inner.X
		case *ast.Ident:
			return inner.Name
		default:
			return ""
		}
	}
}

func inTestdata(p string) bool { return slices.Contains(strings.Split(p, "/"), "testdata") }
