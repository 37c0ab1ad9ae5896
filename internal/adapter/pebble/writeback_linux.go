package pebble

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBack asks the kernel to begin to write what it holds of a file. It does not wait, and nothing depends on it.
func writeBack(f *os.File) { _ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) }
