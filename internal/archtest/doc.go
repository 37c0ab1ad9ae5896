// Package archtest holds the rules of the house that the compiler and the linters cannot see: who may import whom, what
// pure packages may do, that exported names are documented, that files stay small, that the docs tell the truth.
//
// Each rule is a function from sources to findings, a test that runs it on this repository, and a test that plants a
// violation and wants it found. To change a rule, change its table: imports.go for packages, testdata/ratchet.txt for
// sizes. It is imported by nothing.
package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// modulePath is the import path of the root of this repository.
const modulePath = "github.com/continuo-dev/continuo"

// finding is one broken rule. Where is a path relative to the root, with a line where there is one.
type finding struct {
	where string
	what  string
}

func (f finding) String() string { return f.where + ": " + f.what }

func at(path string, line int) string { return fmt.Sprintf("%s:%d", path, line) }

// repositoryRoot is the directory with the go.mod of modulePath, found upwards from the working directory.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module "+modulePath+"\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of %s above the working directory", modulePath)
		}
		dir = parent
	}
}

// source is one text file of the repository.
type source struct {
	path    string // relative to the root, with slashes
	content string
}

// notOurs are directories whose files are generated, vendored, built or left behind by runs.
var notOurs = []string{".git", ".bin", "bin", "gen", "data", ".continuo", "proto/third_party", "web/node_modules", "web/dist"}

// readSources returns the files of the repository that people wrote and whose name ends in one of the suffixes; all text
// files when there is none. Files with a NUL byte are not text. Test data is included, fuzz corpora are not.
func readSources(root string, suffixes ...string) ([]source, error) {
	var sources []source
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) { // removed by somebody else meanwhile
				return nil
			}
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			if slices.Contains(notOurs, relative) || strings.HasSuffix(relative, "testdata/fuzz") || strings.HasSuffix(relative, "testdata/rapid") {
				return filepath.SkipDir
			}
			return nil
		}
		wanted := len(suffixes) == 0 || slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(relative, s) })
		if !wanted || !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		if !strings.Contains(string(content), "\x00") {
			sources = append(sources, source{relative, string(content)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	return sources, nil
}

// isGenerated reports whether Go source carries the standard mark of generated code.
func isGenerated(s source) bool {
	for line := range strings.Lines(s.content) {
		if strings.HasPrefix(line, "package ") {
			return false
		}
		if strings.HasPrefix(line, "// Code generated ") && strings.HasSuffix(strings.TrimSpace(line), " DO NOT EDIT.") {
			return true
		}
	}
	return false
}
