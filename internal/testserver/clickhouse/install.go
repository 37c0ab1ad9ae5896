package clickhouse

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/continuo-dev/continuo/internal/testserver"
)

// The engine: ClickHouse 26.7.2.1 as a library, in a package of npm. There is no package of the server to be had that way.
const (
	npmPackage    = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1"
	cacheName     = "clickhouse-26.7.3-stable.1"
	library       = "libchdb.so"
	librarySHA256 = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"
)

// Install downloads the engine with npm (178 MB), unless it is there, and returns the directory it is in (566 MB). The
// library's checksum is compared before it gets its name, so what has the name is whole.
func Install(ctx context.Context) (dir string, err error) {
	dir, err = testserver.Dir(cacheName)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, library)); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "install-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	pack := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", work, npmPackage)
	pack.Dir = work
	if output, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s (npm comes with Node.js; Debian: apt-get install npm): %w\n%s", npmPackage, err, output)
	}
	packed, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return "", fmt.Errorf("npm pack %s made %d files: %w", npmPackage, len(packed), err)
	}
	whole := filepath.Join(work, library)
	if err := extract(packed[0], whole); err != nil {
		return "", fmt.Errorf("unpack %s: %w", npmPackage, err)
	}
	return dir, os.Rename(whole, filepath.Join(dir, library))
}

// extract takes the library out of a package and compares its checksum.
func extract(packed, to string) (err error) {
	file, err := os.Open(packed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("there is no %s in it", library)
		}
		if err != nil {
			return err
		}
		if !strings.HasSuffix(header.Name, "/"+library) {
			continue
		}
		sum, err := write(to, archive)
		if err == nil && sum != librarySHA256 {
			err = fmt.Errorf("%s has SHA-256 %s; want %s", library, sum, librarySHA256)
		}
		return err
	}
}

// write copies to a new file and returns the SHA-256 of what it wrote.
func write(path string, from io.Reader) (sum string, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, hash), from); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
