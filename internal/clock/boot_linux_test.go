package clock

import (
	"testing"
	"time"
)

func TestBootIsTheKernels(t *testing.T) { //nolint:paralleltest // it changes what was read last
	for range 100 {
		before := readBoot()
		got := boot()
		after := readBoot()
		if slack := 20 * time.Millisecond; got < before-slack || got > after+slack {
			t.Fatalf("boot time is %v, the kernel's between %v and %v", got, before, after)
		}
	}
}

func TestBootNoticesASuspension(t *testing.T) { //nolint:paralleltest // it changes what was read last
	boot()
	// As if the machine had been suspended since the last reading: both clocks were an hour behind then.
	was := *lastRead.Load()
	lastRead.Store(&offsets{wall: was.wall - time.Hour, boot: was.boot - time.Hour})
	if got, want := boot(), readBoot(); (want - got).Abs() > 20*time.Millisecond {
		t.Fatalf("after a suspension boot time is %v, the kernel's %v", got, want)
	}
}

func TestBootNeverFalls(t *testing.T) { //nolint:paralleltest // it changes what was read last
	last := boot()
	for n := range 1000 {
		if n%10 == 0 { // the wall clock is set
			was := *lastRead.Load()
			lastRead.Store(&offsets{wall: was.wall + time.Hour, boot: was.boot})
		}
		now := boot()
		if now < last {
			t.Fatalf("boot time fell from %v to %v", last, now)
		}
		last = now
	}
}

func BenchmarkBoot(b *testing.B) {
	for b.Loop() {
		boot()
	}
}
