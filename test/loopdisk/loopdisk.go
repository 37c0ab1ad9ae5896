// Package loopdisk makes small disks of their own for tests: ext4 in a file behind a loop device, which can be cut off from
// its power, filled, and thrown away. Linux, root.
package loopdisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing says what is missing to make disks and how to get it; "" means nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "loop devices need root: run it as root, in a container with --privileged"
	}
	for _, tool := range []string{"mkfs.ext4", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed: apt-get install e2fsprogs mount"
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "the machine has no loop devices (/dev/loop-control): load the kernel module loop, in a container use --privileged"
	}
	return ""
}

// Disk is an ext4 file system in a file.
type Disk struct {
	image   string
	path    string
	mounted bool
}

// New makes a disk of the given size in dir and mounts it. Close undoes that.
func New(dir string, bytes int64) (*Disk, error) {
	d := &Disk{image: filepath.Join(dir, "disk.ext4"), path: filepath.Join(dir, "disk")}
	file, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(bytes), file.Close()); err != nil {
		return nil, err
	}
	// Without lazy initialization nothing is written later that would slow down or blur a test.
	if err := run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return nil, err
	}
	return d, d.Mount()
}

// Path is where the disk is mounted.
func (d *Disk) Path() string { return d.path }

// Mount mounts the disk again after [Disk.Unmount]. The kernel replays the file system's journal, as after a power cut.
func (d *Disk) Mount() error {
	if err := run("mount", "-o", "loop", d.image, d.path); err != nil {
		return err
	}
	d.mounted = true
	return nil
}

// Unmount unmounts the disk. No process may use it any more.
func (d *Disk) Unmount() error {
	if err := run("umount", d.path); err != nil {
		return err
	}
	d.mounted = false
	return nil
}

// Cut takes the power away: from now on every write and sync fails, and what was not synced before is gone when the disk
// is mounted again.
func (d *Disk) Cut() error {
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2          // the file system's own journal is not written either
	)
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // was only read
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush); err != nil {
		return fmt.Errorf("cutting %s off: %w", d.path, err)
	}
	return nil
}

// Close unmounts the disk, if it is mounted, and deletes it.
func (d *Disk) Close() error {
	var err error
	if d.mounted {
		err = d.Unmount()
	}
	return errors.Join(err, os.Remove(d.image))
}

func run(program string, args ...string) error {
	if output, err := exec.Command(program, args...).CombinedOutput(); err != nil { //nolint:noctx // these end by themselves
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
