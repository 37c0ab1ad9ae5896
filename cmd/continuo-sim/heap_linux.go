package main

import (
	"runtime"
	"syscall"
)

// hugePages asks the kernel to put the part of the heap that is made first on huge pages, where it has them: seeds fill
// memory and leave it, and a tenth of their time went by while small pages were made and found.
func hugePages(bytes int) {
	room := make([]byte, bytes)
	_ = syscall.Madvise(room, syscall.MADV_HUGEPAGE) // without them it is slower
	runtime.KeepAlive(room)
}
