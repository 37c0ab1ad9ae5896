package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// A leftover is a promise to do something later. It belongs into an issue, or it is done.
var leftover = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|(?i:not ` + `implemented)`)

// The project speaks of itself: not of the machine somebody sat at, nor of the tools it was written with.
var foreign = regexp.MustCompile(`(^|[\s"'(=\x60])/(wo` + `rk|ro` + `ot|Us` + `ers)/[\w.]|\b(A` + `I|L` + `LM|GP` + `T)\b|(?i:\b(cla` + `ude|anthr` + `opic|open` + `ai|cop` + `ilot|chat` + `bot)\b)`)

// upwards is a relative path that begins with one or more "../" and goes on with a name.
var upwards = regexp.MustCompile(`(?:^|[\s"'(=\x60\[])((?:\.\./)+)[A-Za-z_][\w.-]*`)

// checkText looks for leftovers, for words about where and how the project was written, and for paths out of the
// repository, in any text file.
func checkText(sources []source) []finding {
	var findings []finding
	for _, s := range sources {
		if path.Base(s.path) == "go.sum" || path.Base(s.path) == "LICENSE" {
			continue
		}
		depth := strings.Count(s.path, "/")
		number := 0
		for line := range strings.Lines(s.content) {
			number++
			if hit := leftover.FindString(line); hit != "" {
				findings = append(findings, finding{at(s.path, number), fmt.Sprintf("%q is a leftover: do it, or say what is and is not supported", hit)})
			}
			if hit := foreign.FindString(line); hit != "" {
				findings = append(findings, finding{at(s.path, number), fmt.Sprintf("%q is about where or how this was written, not about the project", strings.TrimSpace(hit))})
			}
			for _, up := range upwards.FindAllStringSubmatch(line, -1) {
				if !inTestdata(s.path) && strings.Count(up[1], "../") > depth {
					findings = append(findings, finding{at(s.path, number), fmt.Sprintf("%q leads out of the repository", strings.TrimSpace(up[0]))})
				}
			}
		}
	}
	return findings
}

// checkSleeps finds tests and conformance suites that call time.Sleep: they are slow or flaky, mostly both. In a file that
// imports testing/synctest the sleep is virtual and welcome.
func checkSleeps(sources []source) ([]finding, error) {
	var findings []finding
	for _, s := range sources {
		suite := strings.HasSuffix(path.Dir(s.path), "test") && strings.HasPrefix(s.path, "internal/")
		if inTestdata(s.path) || !strings.HasSuffix(s.path, ".go") || !strings.HasSuffix(s.path, "_test.go") && !suite {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, s.path, s.content, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		clock, virtual := "", false
		for _, imported := range file.Imports {
			switch p, _ := strconv.Unquote(imported.Path.Value); p {
			case "time":
				clock = "time"
				if imported.Name != nil {
					clock = imported.Name.Name
				}
			case "testing/synctest":
				virtual = true
			}
		}
		if virtual || clock == "" {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok && selector.Sel.Name == "Sleep" {
				if from, ok := selector.X.(*ast.Ident); ok && from.Name == clock {
					findings = append(findings, finding{at(s.path, fset.Position(n.Pos()).Line), "a test sleeps: wait for a signal, or use testing/synctest"})
				}
			}
			return true
		})
	}
	return findings, nil
}
