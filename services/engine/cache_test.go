package engine

import (
	"bytes"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
)

func TestCheckRow(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	d.do(start(1), start(2))
	d.do(sleep(1))
	d.breakRun(2)
	d.must(d.core.flush(t.Context()))
	for n := 1; n <= 2; n++ {
		row, err := d.store.RunStore().Run(t.Context(), 0, runID(n))
		d.must(err)
		if err := CheckRow(row); err != nil {
			t.Errorf("run %d: %v", n, err)
		}
		for _, damaged := range [][]byte{nil, row[:1], row[:len(row)-1], append([]byte{99}, row[1:]...)} {
			if CheckRow(damaged) == nil {
				t.Errorf("run %d: the damaged row %x is taken", n, damaged)
			}
		}
		e, err := decodeEntry(runID(n), row)
		d.must(err)
		if !bytes.Equal(e.appendTo(nil), row) {
			t.Errorf("run %d is encoded differently after decoding", n)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	d := newDriver(f)
	d.do(start(1), start(2))
	d.breakRun(2)
	for n := 1; n <= 2; n++ {
		e, err := d.core.load(f.Context(), runID(n))
		d.must(err)
		f.Add(e.appendTo(nil))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		e, err := decodeEntry(runID(1), row)
		if err != nil || (e.run == nil && e.broken == nil) {
			return
		}
		again, err := decodeEntry(runID(1), e.appendTo(nil))
		if err != nil || !bytes.Equal(again.appendTo(nil), e.appendTo(nil)) {
			t.Errorf("the row is not stable: %v", err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	d := newDriver(f)
	d.do(d.stamped(start(1)))
	f.Add(d.core.state())
	f.Fuzz(func(t *testing.T, state []byte) {
		p := newPartition(0, d.deps(), Options{})
		if p.restore(state) != nil {
			return
		}
		again := newPartition(0, d.deps(), Options{})
		if err := again.restore(p.state()); err != nil || !bytes.Equal(again.state(), p.state()) {
			t.Errorf("the state is not stable: %v", err)
		}
		p.handled(events.Answer{Session: 7, N: 3}, 1)
	})
}
