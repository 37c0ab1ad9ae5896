package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// The tail of file and function sizes, in lines. What a reader fears is not the median but the one file that ate the
// domain.
const (
	maxFileLines     = 600
	maxTestFileLines = 900
	maxFunctionLines = 100 // not in tests: a table or a scenario reads from top to bottom
)

// exception lets one file ("path") or function ("path:Name", "path:Type.Name") be larger than the limit, up to lines.
type exception struct {
	name  string
	lines int
}

// parseRatchet reads testdata/ratchet.txt: per line a name, a number of lines and a reason.
func parseRatchet(text string) ([]exception, error) {
	var exceptions []exception
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%q: want a name, a number of lines and a reason", line)
		}
		lines, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%q: want a number of lines: %w", line, err)
		}
		exceptions = append(exceptions, exception{fields[0], lines})
	}
	return exceptions, nil
}

// checkSizes holds Go files that people wrote against the limits. An exception must be exact, so that it can only shrink:
// when the code gets smaller, so does the exception.
func checkSizes(sources []source, exceptions []exception) ([]finding, error) {
	granted := make(map[string]int)
	for _, e := range exceptions {
		granted[e.name] = e.lines
	}
	used := make(map[string]bool)
	var findings []finding
	judge := func(name, where string, lines, limit int) {
		exact, excepted := granted[name]
		used[name] = used[name] || excepted
		switch {
		case excepted && lines <= limit:
			findings = append(findings, finding{where, fmt.Sprintf("has %d lines and fits the limit of %d: remove it from testdata/ratchet.txt", lines, limit)})
		case excepted && lines < exact:
			findings = append(findings, finding{where, fmt.Sprintf("has shrunk to %d lines: write that into testdata/ratchet.txt instead of %d", lines, exact)})
		case excepted && lines > exact:
			findings = append(findings, finding{where, fmt.Sprintf("has grown to %d lines; testdata/ratchet.txt allows %d and may only shrink: split it", lines, exact)})
		case !excepted && lines > limit:
			findings = append(findings, finding{where, fmt.Sprintf("has %d lines, limit %d: split it by topic", lines, limit)})
		}
	}
	for _, s := range sources {
		if !strings.HasSuffix(s.path, ".go") || inTestdata(s.path) || isGenerated(s) {
			continue
		}
		test := strings.HasSuffix(s.path, "_test.go")
		limit := maxFileLines
		if test {
			limit = maxTestFileLines
		}
		judge(s.path, s.path, strings.Count(s.content, "\n"), limit)
		if test {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, s.path, s.content, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok {
				first, last := fset.Position(f.Pos()).Line, fset.Position(f.End()).Line
				name := strings.TrimPrefix(receiverName(f)+"."+f.Name.Name, ".")
				judge(s.path+":"+name, at(s.path, first)+" "+name, last-first+1, maxFunctionLines)
			}
		}
	}
	for _, e := range exceptions {
		if !used[e.name] {
			findings = append(findings, finding{"internal/archtest/testdata/ratchet.txt", e.name + " does not exist: remove it"})
		}
	}
	return findings, nil
}
