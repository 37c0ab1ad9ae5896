package pebble

import "github.com/cockroachdb/pebble/v2/vfs"

// walCategory is how Pebble marks the files of its write-ahead log.
const walCategory vfs.DiskWriteCategory = "pebble-wal"

// aheadBytes is how far a write-ahead log is filled with zeros beyond its end. Much more makes the one sync that writes them
// slow, much less comes often.
const aheadBytes = 256 << 10

// blockBytes is the largest common block of file systems.
const blockBytes = 4 << 10

var zeros [aheadBytes + blockBytes]byte

// aheadFS makes write-ahead logs grow in large steps: whenever a write passes the end of the file, zeros are written beyond
// it, for the same sync. The syncs after it overwrite what is there, and need not commit a new size and new blocks to the
// journal of the file system, which is half of what a small sync costs.
//
// Pebble reads zeros as the end of a log, as it does with what an older log has left in a file that it uses again.
type aheadFS struct{ vfs.FS }

func (f aheadFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil || c != walCategory {
		return file, err
	}
	return &aheadFile{File: file}, nil
}

func (f aheadFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	if err != nil || c != walCategory {
		return file, err
	}
	a := &aheadFile{File: file}
	if info, err := file.Stat(); err == nil {
		a.end = info.Size()
	}
	return a, nil
}

func (f aheadFS) Unwrap() vfs.FS { return f.FS }

// aheadFile is a write-ahead log. Pebble writes it from one goroutine and from its beginning.
type aheadFile struct {
	vfs.File
	at   int64 // of the next write
	end  int64 // of the file
	full bool  // no more room ahead
}

func (f *aheadFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.at += int64(n)
	if err == nil && f.at > f.end && !f.full {
		f.fill()
	}
	return n, err
}

// fill writes zeros from the next write on up to the end of a block. What was to be written is: that there is no room for the
// zeros is no error.
func (f *aheadFile) fill() {
	size := aheadBytes + (-f.at)&(blockBytes-1)
	n, err := f.WriteAt(zeros[:size], f.at)
	f.end = f.at + int64(n)
	f.full = err != nil
}
