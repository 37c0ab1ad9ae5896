package powercut

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// control shows that a cut is one: a file with synced and unsynced bytes, and one that was never synced.
type control struct {
	appended, fresh string
	files           []*os.File
}

var synced, unsynced = []byte("synced"), []byte(" and not synced")

func newControl(dir string) (*control, error) {
	c := &control{appended: filepath.Join(dir, "control-appended"), fresh: filepath.Join(dir, "control-new")}
	appended, err := os.Create(c.appended)
	if err != nil {
		return nil, err
	}
	_, err = appended.Write(synced)
	parent, openErr := os.Open(dir)
	if err = errors.Join(err, openErr); err == nil {
		err = errors.Join(appended.Sync(), parent.Sync(), parent.Close())
	}
	if err != nil {
		return nil, err
	}
	fresh, err := os.Create(c.fresh)
	if err != nil {
		return nil, err
	}
	c.files = []*os.File{appended, fresh}
	for _, f := range c.files {
		if _, err := f.Write(unsynced); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *control) close() {
	for _, f := range c.files {
		_ = f.Close() // their disk is gone
	}
}

// gone reports whether what was not synced is gone, and fails if what was synced is not there.
func (c *control) gone() (bool, error) {
	appended, err := os.ReadFile(c.appended)
	if err != nil {
		return false, err
	}
	if !bytes.HasPrefix(appended, synced) {
		return false, errors.New("the disk has lost bytes that were synced")
	}
	// Name and size may be there: when the server syncs, the file system's journal takes those of other files along. Their
	// bytes must not be.
	fresh, err := os.ReadFile(c.fresh)
	if err == nil {
		err = os.Remove(c.fresh)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return !bytes.Contains(fresh, unsynced) && !bytes.Contains(appended, unsynced), nil
}

// quantile returns the q-quantile of durations.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}
