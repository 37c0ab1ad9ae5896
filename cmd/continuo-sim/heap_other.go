//go:build !linux

package main

// hugePages does nothing where the kernel is not asked for them.
func hugePages(int) {}
