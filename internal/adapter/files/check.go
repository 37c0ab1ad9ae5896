package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Check reads all blobs of a directory that is not in use and reports what is wrong: files whose bytes do not fit the hash
// in their name, and blobs that are not there although they are wanted. Wanted has their keys, and who wants them.
// Nothing is written. What a crash left of a blob that nobody was told of is no finding.
func Check(dir string, wanted map[string]string, report func(where, what string)) error {
	s := &Store{dir: dir}
	missing := map[string]string{}
	for key, who := range wanted {
		path, ok := s.pathOf(key)
		if !ok {
			report(who, fmt.Sprintf("%.300q is not the key of a blob", key))
			continue
		}
		missing[path] = who
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			report(path, err.Error())
			return nil
		case d.IsDir() || strings.HasSuffix(path, ".tmp"):
			return nil
		}
		who := missing[path]
		delete(missing, path)
		if what := checkFile(path); what != "" {
			if who != "" {
				what += "; it is named by " + who
			}
			report(path, what)
		}
		return nil
	})
	for _, path := range slices.Sorted(maps.Keys(missing)) {
		report(path, "the blob is missing; it is named by "+missing[path])
	}
	return err
}

// checkFile says what is wrong with the file of a blob; "" if nothing is.
func checkFile(path string) string {
	if !isHash(filepath.Base(path)) {
		return "it is not the file of a blob"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != filepath.Base(path) {
		return fmt.Sprintf("its %d bytes do not fit the hash in its name", len(data))
	}
	return ""
}
