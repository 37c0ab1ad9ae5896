package presence_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/brokerlog/presence"
	"github.com/continuo-dev/continuo/pkg/events"
)

// room is a log of announcements and the views of those who read it.
type room struct {
	views map[presence.Process]*presence.View
	n     map[presence.Process]uint64
}

func newRoom(processes ...presence.Process) *room {
	r := &room{views: map[presence.Process]*presence.View{}, n: map[presence.Process]uint64{}}
	for _, p := range processes {
		r.views[p] = presence.NewView(p, "engine")
	}
	return r
}

func (r *room) say(p presence.Process, leaving bool, works ...events.Partition) {
	r.n[p]++
	for _, v := range r.views {
		v.Read(presence.Announcement{Process: p, Role: "engine", N: r.n[p], Beat: r.n[p], Leaving: leaving, Works: works})
	}
}

func (r *room) rounds(n int, processes ...presence.Process) {
	for range n {
		for _, p := range processes {
			r.say(p, false)
		}
	}
}

func (r *room) owners(t *testing.T, of presence.Process) map[presence.Process]int {
	t.Helper()
	counts := map[presence.Process]int{}
	for p := range events.Partition(256) {
		owner, ok := r.views[of].Owner(p)
		if !ok {
			t.Fatal("a partition is nobody's")
		}
		counts[owner]++
	}
	return counts
}

func TestPartitionsAreShared(t *testing.T) {
	t.Parallel()
	a, b, c := presence.Process(11), presence.Process(2_000_000_000_000), presence.Process(3)
	r := newRoom(a, b, c)
	r.rounds(presence.Settled, a, b, c)
	for p := range events.Partition(256) {
		mine := 0
		for _, v := range r.views {
			if v.Mine(p) {
				mine++
			}
		}
		if mine != 1 {
			t.Fatalf("partition %d is worked on by %d", p, mine)
		}
	}
	before := map[events.Partition]presence.Process{}
	for p := range events.Partition(256) {
		before[p], _ = r.views[a].Owner(p)
	}
	counts := r.owners(t, a)
	for _, id := range []presence.Process{a, b, c} {
		if counts[id] < 50 {
			t.Errorf("process %d has %d of 256 partitions", id, counts[id])
		}
	}
	r.say(c, true)
	for p := range events.Partition(256) {
		if now, _ := r.views[a].Owner(p); now != before[p] && before[p] != c {
			t.Fatalf("partition %d moved from %d to %d when %d left", p, before[p], now, c)
		}
	}
	if counts := r.owners(t, b); counts[c] != 0 {
		t.Errorf("one that left has %d partitions", counts[c])
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	a, b := presence.Process(1), presence.Process(2)
	r := newRoom(a, b)
	r.rounds(presence.Settled, a, b)
	r.say(b, false, 7)
	if !r.views[a].Busy(7) || r.views[b].Busy(7) || r.views[a].Busy(8) {
		t.Fatal("who works on partition 7?")
	}
	for n := 1; n < presence.Silence; n++ {
		r.say(a, false)
		if got := len(r.views[a].Present()); got != 2 {
			t.Fatalf("after %d announcements %d are present", n, got)
		}
	}
	r.say(a, false)
	if got := r.views[a].Present(); len(got) != 1 || got[0].Process != a || r.views[a].Busy(7) {
		t.Fatalf("after %d announcements %v are present", presence.Silence, got)
	}
	if got := len(r.views[b].Present()); got != 2 {
		t.Fatalf("one who says nothing himself takes %d to be present", got)
	}
	r.say(b, false)
	if got := len(r.views[a].Present()); got != 2 {
		t.Fatalf("one that came back is not present: %d", got)
	}
}

// TestNewsAreNoBeats: who tells much at once does not take the others to be silent.
func TestNewsAreNoBeats(t *testing.T) {
	t.Parallel()
	v := presence.NewView(1, "engine")
	v.Read(presence.Announcement{Process: 1, Role: "engine", N: 1, Beat: presence.Settled})
	v.Read(presence.Announcement{Process: 2, Role: "engine", N: 1, Beat: 1})
	for n := range uint64(50) {
		v.Read(presence.Announcement{Process: 1, Role: "engine", N: 2 + n, Beat: presence.Settled})
	}
	if got := len(v.Present()); got != 2 {
		t.Fatalf("%d are present", got)
	}
}

func TestNobodyWorksBeforeHeKnowsTheOthers(t *testing.T) {
	t.Parallel()
	v := presence.NewView(1, "engine")
	for n := uint64(1); n < presence.Settled; n++ {
		v.Read(presence.Announcement{Process: 1, Role: "engine", N: n, Beat: n})
		if v.Mine(0) {
			t.Fatalf("it works after %d announcements", n)
		}
	}
	v.Read(presence.Announcement{Process: 1, Role: "engine", N: presence.Settled, Beat: presence.Settled})
	if !v.Mine(0) {
		t.Fatal("alone, and it does not work")
	}
	if !v.Read(presence.Announcement{Process: 2, Role: "engine", N: 1, Beat: 1}) || v.Read(presence.Announcement{Process: 2, Role: "engine", N: 2, Beat: 2}) {
		t.Error("a new process is fresh once")
	}
	if v.Read(presence.Announcement{Process: 3, Role: "scheduler", N: 1, Beat: 1}) || len(v.Present()) != 2 {
		t.Error("a process of another role counts")
	}
	if all := v.All(); len(all) != 3 || all[2].Role != "scheduler" || v.Heard() != presence.Settled {
		t.Errorf("%+v are there in any role", all)
	}
	for p := range events.Partition(16) {
		if owner, _ := v.Owner(p); owner == 3 {
			t.Errorf("partition %d goes to a process of another role", p)
		}
	}
	v.Read(presence.Announcement{Process: 2, Role: "engine", N: 2, Beat: 2, Leaving: true})
	if len(v.Present()) != 2 {
		t.Error("a repeated announcement counts")
	}
}

func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	v := presence.NewView(1, "engine")
	v.Read(presence.Announcement{Process: 1, Role: "engine", N: 1, Beat: 1})
	for id := range presence.Process(2 * presence.MaxMembers) {
		v.Read(presence.Announcement{Process: id + 10, Role: "engine", N: 1, Beat: 1})
	}
	if got := len(v.Present()); got != presence.MaxMembers {
		t.Fatalf("%d members are remembered", got)
	}
	for n := range uint64(20) {
		v.Read(presence.Announcement{Process: 1, Role: "engine", N: 2 + n, Beat: 2 + n})
	}
	v.Read(presence.Announcement{Process: 5, Role: "engine", N: 1, Beat: 1})
	if got := v.Present(); len(got) != 2 {
		t.Fatalf("%d are present after a long silence", len(got))
	}
}

func TestCodec(t *testing.T) {
	t.Parallel()
	a := presence.Announcement{Process: 1 << 63, Role: "engine", Name: "host-1/4711", N: 9, Beat: 4, At: 1_700_000_000_000_000, Aside: true, Leaving: true, Works: []events.Partition{0, 3, 65535}}
	b := presence.Append([]byte("x"), &a)[1:]
	const golden = "\x02\xbb\xb9r\xb4\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\t\x00\x00\x00\x00\x00\x00\x00\x04\x00\x06\n$\x18\x1e@\x00\x03\x06engine\vhost-1/4711\x00\x03\x00\x00\x00\x03\xff\xff"
	if string(b) != golden {
		t.Errorf("the bytes are %q", b)
	}
	got, err := presence.Decode(b)
	if diff := cmp.Diff(a, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1 << rand.IntN(8)
		if got, err := presence.Decode(damaged); err == nil {
			t.Errorf("byte %d changed, and it is read as %+v", i, got)
		}
		if _, err := presence.Decode(b[:i]); err == nil {
			t.Errorf("it is read when cut at %d", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(presence.Append(nil, &presence.Announcement{Process: 1, Role: "r", Name: "n", N: 1, Beat: 1, Works: []events.Partition{2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := presence.Decode(b)
		if err != nil {
			return
		}
		again, err := presence.Decode(presence.Append(nil, &a))
		if diff := cmp.Diff(a, again, cmpopts.EquateEmpty()); len(a.Role) <= presence.MaxRoleBytes && len(a.Name) <= presence.MaxNameBytes && (err != nil || diff != "") {
			t.Fatalf("%v, %s", err, diff)
		}
	})
}

// Who stands aside gets nothing, and keeps what it works on until it says that it does no more.
func TestWhoStandsAsideGetsNothing(t *testing.T) {
	t.Parallel()
	const a, b, p = presence.Process(1), presence.Process(2), events.Partition(0)
	v := presence.NewView(a, "engine")
	say := func(of presence.Process, n uint64, aside bool, works ...events.Partition) {
		v.Read(presence.Announcement{Process: of, Role: "engine", N: n, Beat: n, Aside: aside, Works: works})
	}
	for n := range uint64(presence.Settled) {
		say(a, n+1, false)
		say(b, n+1, false, p)
	}
	say(b, presence.Settled+1, true, p)
	if owner, ok := v.Owner(p); !ok || owner != a || !v.Busy(p) {
		t.Errorf("the owner is %v (%v), and busy is %v", owner, ok, v.Busy(p))
	}
	say(b, presence.Settled+2, true)
	if v.Busy(p) || !v.Mine(p) {
		t.Error("what nobody works on any more is not taken")
	}
	say(a, presence.Settled+1, true)
	if _, ok := v.Owner(p); ok || v.Mine(p) {
		t.Error("somebody who stands aside gets a partition")
	}
}
