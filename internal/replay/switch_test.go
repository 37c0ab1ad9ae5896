package replay

import "testing"

// BenchmarkFiberSwitch is one hand-over to a fiber and back.
func BenchmarkFiberSwitch(b *testing.B) {
	r := New(Options{})
	var f *fiber
	f = r.newFiber(func() {
		for {
			f.park()
		}
	})
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		r.resume(f)
	}
}
