package segments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/internal/objectstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// gated are objects of which one process does its next operation when it is let.
type gated struct {
	objectstore.Store
	asks chan<- struct{}
	let  <-chan struct{}
}

func (g *gated) wait() { g.asks <- struct{}{}; <-g.let }

func (g *gated) Put(ctx context.Context, name string, data []byte) error {
	g.wait()
	return g.Store.Put(ctx, name, data)
}

func (g *gated) Delete(ctx context.Context, name string) error {
	g.wait()
	return g.Store.Delete(ctx, name)
}

func (g *gated) Get(ctx context.Context, name string) ([]byte, error) {
	g.wait()
	return g.Store.Get(ctx, name)
}

func (g *gated) List(ctx context.Context, prefix string) ([]string, error) {
	g.wait()
	return g.Store.List(ctx, prefix)
}

// indexLog is what the log lets be forgotten: it has all that lies behind the highest hold.
type indexLog struct {
	t       testing.TB
	objects *memory.Objects
	held    events.Seq
	counts  map[string]int
}

// open items of the log below next: every seventh stays, of the others the newest twenty.
func openBelow(seq, next events.Seq) bool {
	return seq >= 1 && seq < next && (seq%7 == 0 || seq+20 >= next)
}

func indexItem(seq events.Seq) dueindex.Item {
	var item dueindex.Item
	item.Key.Kind, item.Key.RunID, item.Due, item.Body = dueindex.KindTask, benchID(int(seq)), events.Time(seq), []byte{byte(seq)}
	return item
}

// begins looks at the index as a scheduler that takes over now would find it.
func (l *indexLog) begins() {
	l.t.Helper()
	s := openStore(l.t, l.objects, nil, quiet)
	index := s.DueIndex()
	next, err := index.Position(l.t.Context(), 0)
	check(l.t, err)
	if next < l.held {
		l.t.Fatalf("the index that counts is at %d; the log begins at %d", next, l.held)
	}
	items, err := index.Due(l.t.Context(), 0, dueindex.KindTask, dueindex.Item{}, 1<<40, 1<<20)
	check(l.t, err)
	for seq := range next {
		if !openBelow(seq, next) {
			continue
		}
		if len(items) == 0 || items[0].Due != events.Time(seq) {
			l.t.Fatalf("the index at %d has not %d: it has %d items", next, seq, len(items))
		}
		items = items[1:]
	}
	if len(items) > 0 {
		l.t.Fatalf("the index at %d has %d items too many", next, len(items))
	}
}

// indexer is a process that believes that it is the scheduler. Its work runs in a goroutine that waits before each operation.
type indexer struct {
	*indexLog
	store *Store
	next  events.Seq

	busy bool
	asks chan struct{}
	let  chan struct{}
	done chan error
}

func (l *indexLog) indexer() *indexer {
	i := &indexer{indexLog: l, asks: make(chan struct{}), let: make(chan struct{}), done: make(chan error)}
	i.store = openStore(l.t, &gated{l.objects, i.asks, i.let}, nil, func(o *Options) { quiet(o); o.Claims, o.SegmentBytes = true, 300 })
	return i
}

// work is one thing that the process does: beginning, saving and then holding, or tidying.
func (i *indexer) work(what int) error {
	ctx := i.t.Context()
	switch {
	case i.next == 0:
		next, err := i.store.DueIndex().Position(ctx, 0)
		i.next = max(next, 1)
		return err
	case what < 3:
		err := i.store.owned[0].tidy(ctx)
		if errors.Is(err, objectstore.ErrNotFound) { // of one that is overtaken, and does not know yet
			_, err = i.store.keepsClaim(ctx, 0, i.store.owned[0].claim, i.store.owned[0].writer)
			if err == nil {
				i.t.Error("a segment of the scheduler that works is not there")
			}
		}
		return err
	}
	next := i.next + events.Seq(what)
	var puts []dueindex.Item
	var deletes []dueindex.Key
	for seq := range next {
		switch was, is := openBelow(seq, i.next), openBelow(seq, next); {
		case is && !was:
			puts = append(puts, indexItem(seq))
		case was && !is:
			deletes = append(deletes, indexItem(seq).Key)
		}
	}
	if err := i.store.DueIndex().Save(ctx, 0, next, puts, deletes); err != nil {
		return err
	}
	i.next = next
	i.held = max(i.held, next)
	return nil
}

// step lets the process go on to its next operation, or begin something. It reports whether it lives on.
func (i *indexer) step(random *rand.Rand) bool {
	if i.busy {
		i.let <- struct{}{}
	} else {
		i.busy = true
		what := random.IntN(10)
		go func() { i.done <- i.work(what) }()
	}
	select {
	case <-i.asks:
		return true
	case err := <-i.done:
		i.busy = false
		if err != nil {
			if !errors.Is(err, journal.ErrLost) {
				i.t.Fatalf("a scheduler: %v", err)
			}
			i.counts["overtaken"]++
			return false
		}
		i.counts["done"]++
		return true
	}
}

// end lets what is under way end.
func (i *indexer) end() {
	for i.busy {
		i.step(nil)
	}
}

// TestClaims lets several processes believe that they are the scheduler, and stop between any two operations for as long as it
// takes: whoever begins finds the index of a prefix of the log, never behind what the log may forget, and all its objects.
func TestClaims(t *testing.T) {
	t.Parallel()
	const schedules, steps = 60, 300
	total := map[string]int{}
	for seed := range uint64(schedules) {
		random := rand.New(rand.NewPCG(seed, 2))
		l := &indexLog{t: t, objects: &memory.Objects{}, counts: total}
		func() {
			var all []*indexer
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			for range steps {
				if n := len(all); n == 0 || n < 4 && random.IntN(25) == 0 {
					all = append(all, l.indexer())
					total["begun"]++
				}
				n := random.IntN(len(all))
				if random.IntN(2) == 0 {
					n = len(all) - 1 // so that one gets on
				}
				if !all[n].step(random) {
					all = append(all[:n], all[n+1:]...)
				}
				if random.IntN(4) == 0 {
					l.begins()
				}
			}
			for _, i := range all {
				i.end()
			}
			l.begins()
		}()
	}
	fmt.Println("segments:", schedules, "schedules of claims:", total)
	if total["overtaken"] < schedules || total["done"] < schedules*10 {
		t.Errorf("too little happens: %v", total)
	}
}
