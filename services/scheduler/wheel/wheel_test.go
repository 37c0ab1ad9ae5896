package wheel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
)

// plain is the wheel as anybody would believe it: a list, sorted when asked.
type plain struct{ entries []slot[int] }

func (p *plain) set(key int, at events.Time, order uint64) {
	p.remove(key)
	p.entries = append(p.entries, slot[int]{at: at, order: order, key: key})
	slices.SortFunc(p.entries, func(a, b slot[int]) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return int(a.order) - int(b.order)
	})
}

func (p *plain) remove(key int) bool {
	before := len(p.entries)
	p.entries = slices.DeleteFunc(p.entries, func(s slot[int]) bool { return s.key == key })
	return len(p.entries) < before
}

func TestWheelIsASortedList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, p := New[int](), &plain{}
		order := uint64(0)
		key, at := rapid.IntRange(0, 20), rapid.Int64Range(1, 30)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, due := key.Draw(t, "key"), events.Time(at.Draw(t, "at"))
				order++
				w.Set(k, due)
				p.set(k, due, order)
			},
			"remove": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if got, want := w.Remove(k), p.remove(k); got != want {
					t.Fatalf("Remove(%d) = %v, want %v", k, got, want)
				}
			},
			"pop": func(t *rapid.T) {
				now := events.Time(at.Draw(t, "now"))
				k, ok := w.Pop(now)
				wantOK := len(p.entries) > 0 && p.entries[0].at <= now
				if ok != wantOK || ok && k != p.entries[0].key {
					t.Fatalf("Pop(%d) = %d %v of %v", now, k, ok, p.entries)
				}
				if ok {
					p.remove(k)
				}
			},
			"": func(t *rapid.T) {
				next, ok := w.Next()
				if w.Len() != len(p.entries) || ok != (len(p.entries) > 0) || ok && next != p.entries[0].at {
					t.Fatalf("Len %d, Next %d %v; want %v", w.Len(), next, ok, p.entries)
				}
				for k := range 21 {
					i := slices.IndexFunc(p.entries, func(s slot[int]) bool { return s.key == k })
					if got, ok := w.At(k); ok != (i >= 0) || ok && got != p.entries[i].at {
						t.Fatalf("At(%d) = %d %v; want %v", k, got, ok, p.entries)
					}
				}
			},
		})
	})
}

func TestWheelForgetsWhatItHeld(t *testing.T) {
	t.Parallel()
	w := New[int]()
	for k := range 100 {
		w.Set(k, events.Time(100-k))
	}
	for k := 99; k >= 0; k-- {
		if got, ok := w.Pop(1000); !ok || got != k {
			t.Fatalf("popped %d %v, want %d", got, ok, k)
		}
	}
	if _, ok := w.Pop(1000); ok || w.Len() != 0 || len(w.index) != 0 {
		t.Fatalf("an emptied wheel still holds %d keys and %d index entries", w.Len(), len(w.index))
	}
}
