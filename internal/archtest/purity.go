package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// purePackages are values in, values out. internal/replay is one too, except that its fibers are goroutines.
var purePackages = []string{
	"pkg/events", "services/engine/machine", "services/scheduler/matcher", "services/scheduler/wheel", "services/gateway/sessions",
	"services/projector/projection", "internal/readmodel/row", "internal/brokerlog/fold", "internal/brokerlog/presence", "internal/replay",
	"internal/inbox/book", "internal/adapter/brokerinbox/post",
}

// mayStartGoroutines are the pure packages that may use goroutines and channels, because they hand over strictly.
var mayStartGoroutines = []string{"internal/replay"}

// timeSources are the functions of package time that read a clock or wait for one, and what depends on the machine's zone.
var timeSources = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick", "Local", "LoadLocation"}

// mapWalkers are the functions of package maps whose results come in random order.
var mapWalkers = []string{"All", "Keys", "Values"}

// sorters make any order the same order; a mapWalker may be their argument.
var sorters = []string{"Sorted", "SortedFunc", "SortedStableFunc"}

// sortedMark, followed by a reason, says why a range over a map may stand: on its line or the line above.
const sortedMark = "// sorted:"

// loadPure parses and type-checks the pure packages that exist in the module at root.
func loadPure(root string) ([]*packages.Package, error) {
	config := &packages.Config{
		Dir:  root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}
	all, err := packages.Load(&packages.Config{Dir: root, Mode: packages.NeedName}, "./...")
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var existing []string
	for _, p := range all {
		if name, ours := relativeToModule(p.PkgPath); ours && slices.Contains(purePackages, name) {
			existing = append(existing, p.PkgPath)
		}
	}
	if len(existing) == 0 {
		return nil, nil
	}
	loaded, err := packages.Load(config, existing...)
	if err != nil {
		return nil, fmt.Errorf("load pure packages: %w", err)
	}
	return loaded, nil
}

// checkPurity holds one type-checked file of a pure package against what such code may do.
func checkPurity(fset *token.FileSet, file *ast.File, info *types.Info, goroutines bool) []finding {
	c := purityCheck{fset: fset, info: info, sortedLines: make(map[int]bool)}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if reason, ok := strings.CutPrefix(comment.Text, sortedMark); ok && strings.TrimSpace(reason) != "" {
				line := fset.Position(comment.Pos()).Line
				c.sortedLines[line], c.sortedLines[line+1] = true, true
			}
		}
	}
	sorted := make(map[ast.Node]bool) // ranges and calls of mapWalkers whose order is mended
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			for i := 1; i < len(n.List); i++ {
				if c.collects(n.List[i-1], n.List[i]) {
					sorted[n.List[i-1]] = true
				}
			}
		case *ast.GoStmt:
			if !goroutines {
				c.add(n, "starts a goroutine")
			}
		case *ast.SelectStmt:
			if !goroutines {
				c.add(n, "waits on channels")
			}
		case *ast.ChanType:
			if !goroutines {
				c.add(n, "has a channel")
			}
		case *ast.RangeStmt:
			if c.isMap(n.X) && !sorted[n] && !c.sortedLines[fset.Position(n.Pos()).Line] {
				c.add(n, "ranges over a map: use slices.Sorted(maps.Keys(m)), or say why order cannot matter with "+sortedMark+" reason")
			}
		case *ast.CallExpr:
			if slices.Contains(sorters, c.function(n.Fun, "slices")) && len(n.Args) > 0 {
				sorted[n.Args[0]] = true
			}
			if name := c.function(n.Fun, "maps"); slices.Contains(mapWalkers, name) && !sorted[n] && !c.sortedLines[fset.Position(n.Pos()).Line] {
				c.add(n, "takes maps."+name+" in random order: put slices.Sorted around it, or say why order cannot matter with "+sortedMark+" reason")
			}
		case *ast.SelectorExpr:
			if name := c.function(n, "time"); slices.Contains(timeSources, name) {
				c.add(n, "uses time."+name+": time enters as data")
			}
		}
		return true
	})
	return c.findings
}

type purityCheck struct {
	fset        *token.FileSet
	info        *types.Info
	sortedLines map[int]bool
	findings    []finding
}

func (c *purityCheck) add(n ast.Node, what string) {
	p := c.fset.Position(n.Pos())
	c.findings = append(c.findings, finding{at(p.Filename, p.Line), "a pure package " + what})
}

func (c *purityCheck) isMap(e ast.Expr) bool {
	t := c.info.TypeOf(e)
	if t == nil {
		return false
	}
	if parameter, generic := t.(*types.TypeParam); generic {
		t = coreType(parameter)
	}
	_, is := t.Underlying().(*types.Map)
	return is
}

// collects reports whether loop only appends to a slice and next sorts that slice.
func (c *purityCheck) collects(loop, next ast.Stmt) bool {
	ranging, ok := loop.(*ast.RangeStmt)
	if !ok || len(ranging.Body.List) != 1 {
		return false
	}
	assignment, ok := ranging.Body.List[0].(*ast.AssignStmt)
	if !ok || len(assignment.Lhs) != 1 || len(assignment.Rhs) != 1 {
		return false
	}
	appending, ok := assignment.Rhs[0].(*ast.CallExpr)
	if !ok || types.ExprString(appending.Fun) != "append" {
		return false
	}
	statement, ok := next.(*ast.ExprStmt)
	if !ok {
		return false
	}
	sorting, ok := statement.X.(*ast.CallExpr)
	return ok && strings.HasPrefix(c.function(sorting.Fun, "slices"), "Sort") && len(sorting.Args) > 0 &&
		types.ExprString(sorting.Args[0]) == types.ExprString(assignment.Lhs[0])
}

// coreType is the first type that a type parameter allows: that of ~map[K]V in [M ~map[K]V, K cmp.Ordered, V any].
func coreType(parameter *types.TypeParam) types.Type {
	constraint, ok := parameter.Constraint().Underlying().(*types.Interface)
	if !ok || constraint.NumEmbeddeds() == 0 {
		return parameter
	}
	if union, ok := constraint.EmbeddedType(0).(*types.Union); ok {
		return union.Term(0).Type()
	}
	return constraint.EmbeddedType(0)
}

// function returns the name that e selects from the named package, or "".
func (c *purityCheck) function(e ast.Expr, from string) string {
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	object := c.info.Uses[selector.Sel]
	if object == nil || object.Pkg() == nil || object.Pkg().Path() != from || object.Parent() != object.Pkg().Scope() {
		return ""
	}
	return object.Name()
}
