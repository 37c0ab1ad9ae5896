package pebble

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/internal/journal"
)

// DiskState tells how much room there is.
type DiskState struct {
	FreeBytes uint64
	// ReserveBytes is what must be free for client commands to be taken; 0 means that nothing is reserved.
	ReserveBytes uint64
	// Full says that client commands are refused with [journal.ErrDiskFull].
	Full bool
	// Err says why FreeBytes is not known; commands are taken then.
	Err error
}

// diskCheckBytes is how much is written between two looks at the disk.
const diskCheckBytes = 4 << 20

// diskCheckEvery is how old the last look may be when a client's command comes: others fill disks, too.
const diskCheckEvery = 100 * time.Millisecond

// diskWatch refuses client commands before the disk is full, because a write that fails ends the store. It looks at the
// disk after every few MiB written, at every refused command, at a command when the last look is old, and when it is asked.
type diskWatch struct {
	dir     string
	reserve uint64
	free    func(dir string) (uint64, error)
	clock   clock.Clock

	mu      sync.Mutex
	state   DiskState
	written int
	looked  time.Duration
}

func (d *diskWatch) init(dir string, o Options) {
	d.dir, d.free, d.clock = dir, o.freeDisk, o.Clock
	d.reserve = uint64(max(o.DiskReserve, 0))
	d.look()
}

// look asks the operating system.
func (d *diskWatch) look() DiskState {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookLocked()
	return d.state
}

func (d *diskWatch) lookLocked() {
	free, err := d.free(d.dir)
	full := false
	switch {
	case err != nil:
	case d.state.Full:
		full = free < d.reserve+d.reserve/8
	default:
		full = free < d.reserve
	}
	d.written, d.looked = 0, d.clock.Boot()
	d.state = DiskState{FreeBytes: free, ReserveBytes: d.reserve, Full: full, Err: err}
}

// wrote counts bytes and looks when they are many.
func (d *diskWatch) wrote(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.written += n; d.written >= diskCheckBytes {
		d.lookLocked()
	}
}

// admit refuses a client command while the disk is near full.
func (d *diskWatch) admit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Full || d.clock.Boot()-d.looked >= diskCheckEvery {
		d.lookLocked()
	}
	if d.state.Full {
		return fmt.Errorf("%w: %d MiB of %s are free and %d MiB are reserved; free some and try again", journal.ErrDiskFull, d.state.FreeBytes>>20, d.dir, d.reserve>>20)
	}
	return nil
}

// DiskState looks at the disk.
func (s *Store) DiskState() DiskState { return s.disk.look() }

func freeDisk(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
