package segments

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/journal"
)

// step lets one of the processes do something. The last one is the owner; those before it believed to be once, and may still
// write what they had committed then, merge, and delete. An error that was not planned ends the test; a process that met one
// takes over again or is gone.
func (w *world) step(living []*process, reader *process) []*process {
	t := w.t
	i := w.random.IntN(len(living))
	p := living[i]
	owns := i == len(living)-1
	var err error
	switch n := w.random.IntN(100); {
	case n < 25:
		w.counts["zombies' commits"] += boolToInt(!owns)
		var still bool
		if still, err = p.commit(); err == nil && still != owns {
			t.Fatalf("%s commits: %v, owns: %v", p.name, still, owns)
		}
	case n < 45:
		w.counts["zombies' writes"] += boolToInt(!owns && p.unflushed > 0)
		err = p.write()
	case n < 50:
		err = p.forget()
	case n < 65:
		err = p.store.owned[0].tidy(t.Context())
	case n < 75:
		err = reader.wantHistories(1+w.random.IntN(3), w.random.IntN(400))
		p = reader
	case n < 80:
		err = p.wantHistories(1, 1<<20)
	case n < 90:
		p.objects.plan(1+w.random.IntN(8), w.random.IntN(2) == 0, w.random.IntN(2) == 0)
	case n < 93:
		w.clock.Advance(time.Duration(w.random.IntN(40)) * time.Second)
	default: // another takes over, or one that was owner before, or is it
		if w.random.IntN(2) == 0 && len(living) < 4 {
			p = w.process()
		} else {
			living = slices.Delete(living, i, i+1)
		}
		living = append(living, p)
		i = len(living) - 1
		w.counts["take-overs"]++
		err = p.takeOver()
	}
	switch {
	case err == nil:
		return living
	case errors.Is(err, errPlanned):
		w.counts["failures"]++
	case errors.Is(err, journal.ErrLost) && i < len(living)-1:
		w.counts["segments that a successor deleted"]++
	default:
		t.Fatalf("%s: %v", p.name, err)
	}
	if p == reader {
		return living
	}
	wasOwner := i == len(living)-1
	living = slices.Delete(living, i, i+1) // what it has in memory is dropped
	if !wasOwner {
		w.end(p)
		return living
	}
	for err != nil { // and recovered, by it or by another
		if p.objects.isDead() || w.random.IntN(3) == 0 {
			w.end(p)
			p = w.process()
		}
		w.counts["take-overs"]++
		if err = p.takeOver(); err != nil && !errors.Is(err, errPlanned) {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	return append(living, p)
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestSchedules lets processes own a partition in turn, be wrong about it, fail in any operation and die, in many orders.
// Whoever takes over finds the rows of a prefix of the log, and every reader all histories.
func TestSchedules(t *testing.T) {
	t.Parallel()
	const schedules, steps = 60, 150
	total := map[string]int{}
	for seed := range uint64(schedules) {
		w := newWorld(t, seed)
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			first, reader := w.process(), w.process()
			check(t, first.takeOver())
			living := []*process{first}
			for range steps {
				living = w.step(living, reader)
			}
			for _, p := range living {
				w.end(p)
			}
			check(t, reader.wantHistories(1, 1<<20))
			w.end(reader)
			w.wantNoLeftovers()
			for what, n := range w.counts {
				total[what] += n
			}
		}()
	}
	fmt.Println("segments:", schedules, "schedules:", total)
	for _, what := range []string{"zombies' writes", "zombies' commits", "failures", "take-overs", "forgotten", "trims"} {
		if total[what] == 0 {
			t.Errorf("the schedules have no %s", what)
		}
	}
}
