package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// rowVersion1 is what version 1 stored of run 1 after it had started and gone to wait for a signal.
const rowVersion1 = "01000400010764656661756c74027731019b76daa8007000800000000000000101770764656661756c7404808082e288d2a306010000000000000001030100" +
	"0001000000000000000000000000000102676f000001000001000102676f01"

// A row that an older version wrote is built again from the history, and nobody is told of damage.
func TestRowOfVersion1(t *testing.T) {
	t.Parallel()
	old, err := hex.DecodeString(rowVersion1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeEntry(runID(1), old); !errors.Is(err, machine.ErrVersion) {
		t.Errorf("decoding it says %v", err)
	}
	if err := CheckRow(old); err != nil {
		t.Errorf("a check of the store says %v", err)
	}
	newer := bytes.Clone(old)
	newer[4] = 99 // the version of the run in it
	if err := CheckRow(newer); !errors.Is(err, machine.ErrVersion) {
		t.Errorf("a check of a newer row says %v", err)
	}
	d := newDriver(t)
	d.do(start(1))
	d.do(sleep(1))
	d.must(d.core.flush(t.Context()))
	row, err := d.store.RunStore().Run(t.Context(), 0, runID(1))
	d.must(err)
	d.must(d.store.RunStore().Write(t.Context(), 0, runstore.Changes{PutRuns: []runstore.RunRow{{RunID: runID(1), Row: old}}}))
	clear(d.core.runs)
	var logged bytes.Buffer
	d.core.deps.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	equal(t, "code", d.one(to(1, events.GetRun{})).Code, events.OK)
	d.must(d.core.flush(t.Context()))
	again, err := d.store.RunStore().Run(t.Context(), 0, runID(1))
	d.must(err)
	if !bytes.HasSuffix(again, row[len(row)-20:]) || bytes.Equal(again, old) {
		t.Errorf("the row became %x", again)
	}
	if said := logged.String(); !strings.Contains(said, "another version") || strings.Contains(said, "damage") || strings.Contains(said, "WARN") {
		t.Errorf("the log says %q", said)
	}
}
