package archtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	codeSpan     = regexp.MustCompile("`([^`\n]+)`")
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	looksAPath   = regexp.MustCompile(`^[A-Za-z0-9_.][\w.{},*/-]*$`)
	snippetFence = regexp.MustCompile("^```go file=([^#\\s]+)(?:#(\\S+))?\\s*$")
)

// checkPaths wants every path that a document names to exist: what stands in `code` or begins a line of a code block, and
// starts with the name of a directory or file at the root of the repository, and what links lead to. Braces and stars are
// expanded: `internal/{journal,inbox}`, `docs/adr/*.md`. roots are the names at the root.
func checkPaths(document source, roots []string, exists func(string) bool) []finding {
	var findings []finding
	number, inCode := 0, false
	check := func(named string) {
		named = strings.TrimRight(named, ".,:;/")
		first, _, deeper := strings.Cut(named, "/")
		if !looksAPath.MatchString(named) || !slices.Contains(roots, first) || !deeper && path.Ext(named) == "" {
			return
		}
		for _, p := range expandBraces(named) {
			if !exists(p) {
				findings = append(findings, finding{at(document.path, number), "names " + p + ", which does not exist"})
			}
		}
	}
	for line := range strings.Lines(document.content) {
		number++
		if strings.HasPrefix(line, "```") {
			inCode = !inCode
			continue
		}
		if inCode {
			if fields := strings.Fields(line); len(fields) > 0 {
				check(fields[0])
			}
			continue
		}
		for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
			check(span[1])
		}
		for _, link := range markdownLink.FindAllStringSubmatch(line, -1) {
			target, _, _ := strings.Cut(link[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if p := path.Join(path.Dir(document.path), target); !exists(p) {
				findings = append(findings, finding{at(document.path, number), "links to " + p + ", which does not exist"})
			}
		}
	}
	return findings
}

// expandBraces turns a{b,c}d into abd and acd.
func expandBraces(p string) []string {
	before, rest, ok := strings.Cut(p, "{")
	if !ok {
		return []string{p}
	}
	inside, after, ok := strings.Cut(rest, "}")
	if !ok {
		return []string{p}
	}
	var all []string
	for choice := range strings.SplitSeq(inside, ",") {
		all = append(all, expandBraces(before+choice+after)...)
	}
	return all
}

// existsIn answers for paths, with stars, below root.
func existsIn(root string) func(string) bool {
	return func(p string) bool {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(p)))
		return err == nil && len(found) > 0
	}
}

// namesAtRoot returns the directories and files at the root, and the directories that the project has by plan, so that a
// removed one is noticed.
func namesAtRoot(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	names := []string{"cmd", "deploy", "docs", "examples", "gen", "internal", "pkg", "proto", "services", "tools", "web"}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// checkSnippets compares the Go code of a document with where it comes from. A block that begins with
//
//	```go file=examples/hello/main.go#NAME
//
// must equal the lines between "// region NAME" and "// endregion" of that file without their common indentation; without
// #NAME, the whole file.
func checkSnippets(document source, read func(string) (string, error)) []finding {
	var findings []finding
	lines := strings.Split(document.content, "\n")
	for i := 0; i < len(lines); i++ {
		fence := snippetFence.FindStringSubmatch(lines[i])
		if fence == nil {
			if strings.HasPrefix(lines[i], "```go file") {
				findings = append(findings, finding{at(document.path, i+1), "want ```go file=path#region"})
			}
			continue
		}
		start := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		content, err := read(fence[1])
		if err != nil {
			findings = append(findings, finding{at(document.path, start), "code from " + fence[1] + " cannot be compared: " + err.Error()})
			continue
		}
		want, ok := region(content, fence[2])
		if !ok {
			findings = append(findings, finding{at(document.path, start), fmt.Sprintf("%s has no region %q that ends", fence[1], fence[2])})
			continue
		}
		if got := strings.Join(lines[start:min(i, len(lines))], "\n"); got != want {
			findings = append(findings, finding{at(document.path, start), fmt.Sprintf("the code differs from %s#%s; it should be:\n%s", fence[1], fence[2], want)})
		}
	}
	return findings
}

// region returns the lines of a named region without their common indentation and without blank lines around them, or all
// lines when name is empty.
func region(content, name string) (string, bool) {
	lines := strings.Split(strings.TrimRight(content, "\n"), "\n")
	if name != "" {
		is := func(mark string) func(string) bool {
			return func(l string) bool { return strings.TrimSpace(l) == mark }
		}
		first := slices.IndexFunc(lines, is("// region "+name))
		if first < 0 {
			return "", false
		}
		lines = lines[first+1:]
		last := slices.IndexFunc(lines, is("// endregion"))
		if last < 0 {
			return "", false
		}
		lines = lines[:last]
	}
	for len(lines) > 0 {
		shared := !slices.ContainsFunc(lines, func(l string) bool { return l != "" && !strings.HasPrefix(l, "\t") })
		if blank := !slices.ContainsFunc(lines, func(l string) bool { return l != "" }); !shared || blank {
			break
		}
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "\t")
		}
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n"), true
}
