package archtest

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"testing"
)

func TestPurity(t *testing.T) {
	t.Parallel()
	dir := root(t)
	loaded, err := loadPure(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			t.Errorf("%s does not compile and cannot be checked: %s", p.PkgPath, p.Errors[0])
			continue
		}
		name, _ := relativeToModule(p.PkgPath)
		for _, file := range p.Syntax {
			for _, f := range checkPurity(p.Fset, file, p.TypesInfo, slices.Contains(mayStartGoroutines, name)) {
				if relative, err := filepath.Rel(dir, f.where); err == nil {
					f.where = relative
				}
				t.Error(f)
			}
		}
	}
}

func TestPurityFires(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		body       string
		goroutines bool
		want       []string
	}{
		{"pure", `func f(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }`, false, nil},
		{"durations", `func f(at time.Time) time.Time { return at.Add(time.Second) }`, false, nil},
		{"goroutine", `func f() { go func() {}() }`, false, []string{"starts a goroutine"}},
		{"fibers", `func f(c chan int) { go func() { c <- 1 }() }`, true, nil},
		{"channel", `func f(c chan int) { c <- 1 }`, false, []string{"has a channel"}},
		{"select", `func f() { select {} }`, false, []string{"waits on channels"}},
		{"clock", `func f() time.Time { return time.Now() }`, false, []string{"uses time.Now"}},
		{"clock as a value", `var now = time.Now`, false, []string{"uses time.Now"}},
		{"sleep", `func f() { time.Sleep(1) }`, false, []string{"uses time.Sleep"}},
		{"zone of the machine", `func f(at time.Time) time.Time { return at.In(time.Local) }`, false, []string{"uses time.Local"}},
		{"range over a map", `func f(m map[int]int) (s int) { for _, v := range m { s -= v }; return s }`, false, []string{"ranges over a map"}},
		{"range over a named map", `type set map[int]int; func f(m set) { for range m {} }`, false, []string{"ranges over a map"}},
		{"range over a map in a struct", `type run struct { open map[int]int }; func f(r *run) { for k := range r.open { _ = k } }`, false, []string{"ranges over a map"}},
		{"range over a generic map", `func f[M ~map[K]int, K comparable](m M) { for range m {} }`, false, []string{"ranges over a map"}},
		{"collect and sort", `func f(m map[int]int) (s []int) { for k := range m { s = append(s, k) }; slices.Sort(s); return s }`, false, nil},
		{"collect and sort another", `func f(m map[int]int, o []int) (s []int) { for k := range m { s = append(s, k) }; slices.Sort(o); return s }`, false, []string{"ranges over a map"}},
		{"collect and more", `func f(m map[int]int) (s []int) { for k, v := range m { s = append(s, k); m[0] = v }; slices.Sort(s); return s }`, false, []string{"ranges over a map"}},
		{"range over a slice", `func f(s []int) { for range s {} }`, false, nil},
		{"range with a reason", "func f(m map[int]int) (s int) {\n\t// sorted: a sum does not depend on order\n\tfor _, v := range m { s += v }\n\treturn s\n}", false, nil},
		{"range with a mark but no reason", "func f(m map[int]int) (s int) {\n\t// sorted:\n\tfor _, v := range m { s += v }\n\treturn s\n}", false, []string{"ranges over a map"}},
		{"keys unsorted", `func f(m map[int]int) { for k := range maps.Keys(m) { _ = k } }`, false, []string{"takes maps.Keys"}},
		{"values collected", `func f(m map[int]int) []int { return slices.Collect(maps.Values(m)) }`, false, []string{"takes maps.Values"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const imports = "package p\nimport (\"maps\"; \"slices\"; \"time\")\nvar ( _ = maps.Clone[map[int]int]; _ = slices.Max[[]int]; _ time.Duration )\n"
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "planted.go", imports+test.body, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object)}
			if _, err := (&types.Config{Importer: importer.Default()}).Check("p", fset, []*ast.File{file}, info); err != nil {
				t.Fatal(err)
			}
			wantFindings(t, checkPurity(fset, file, info, test.goroutines), test.want...)
		})
	}
}
