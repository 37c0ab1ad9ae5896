package events_test

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// Readers of the log derive the same effects, and leave the record alone, which others share.
func TestEffectsDependOnTheRecordAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := eventgen.Record().Draw(t, "record")
		before := events.AppendRecord(nil, r)
		first := events.Effects(nil, r)
		r2, err := events.DecodeRecord(before)
		if err != nil {
			t.Fatal(err)
		}
		prefix := []events.Effect{events.EndRun{}}
		second := events.Effects(prefix, r2)
		if diff := cmp.Diff(append(prefix[:1:1], first...), second); diff != "" {
			t.Fatalf("effects differ:\n%s", diff)
		}
		for _, e := range second {
			if events.EffectName(e) == "" {
				t.Fatalf("%T has no name", e)
			}
		}
		if !bytes.Equal(before, events.AppendRecord(nil, r)) {
			t.Fatal("Effects changed the record")
		}
	})
}

// Every kind of effect comes from some event.
func TestEveryEffectHappens(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range events.EventKinds() {
		for _, e := range events.Effects(nil, &events.Record{Events: []events.Event{eventgen.Full(kind.Zero)}}) {
			seen[events.EffectName(e)] = true
		}
	}
	for _, kind := range events.EffectKinds() {
		if !seen[kind.Name] {
			t.Errorf("no event asks for %s", kind.Name)
		}
	}
}

func TestCatalogNames(t *testing.T) {
	t.Parallel()
	for i, kind := range events.EventKinds() {
		if kind.Number != i+1 || events.EventKind(kind.Zero) != kind.Number || events.EventName(kind.Zero) != kind.Name || typeName(kind.Zero) != kind.Name {
			t.Errorf("entry %d is %+v", i, kind)
		}
	}
	for i, kind := range events.CommandKinds() {
		if kind.Number != i+1 || events.CommandKind(kind.Zero) != kind.Number || events.CommandName(kind.Zero) != kind.Name || typeName(kind.Zero) != kind.Name {
			t.Errorf("entry %d is %+v", i, kind)
		}
	}
	for i, kind := range events.IntentKinds() {
		if kind.Number != i+1 || events.IntentKind(kind.Zero) != kind.Number || events.IntentName(kind.Zero) != kind.Name || typeName(kind.Zero) != kind.Name {
			t.Errorf("entry %d is %+v", i, kind)
		}
	}
	for i, kind := range events.EffectKinds() {
		if kind.Number != i+1 || events.EffectName(kind.Zero) != kind.Name || typeName(kind.Zero) != kind.Name {
			t.Errorf("entry %d is %+v", i, kind)
		}
	}
	if events.EventName(nil)+events.CommandName(nil)+events.IntentName(nil)+events.EffectName(nil) != "" {
		t.Error("nil has a name")
	}
}

func typeName(v any) string { return reflect.TypeOf(v).Name() }

func policies() *rapid.Generator[events.RetryPolicy] {
	return rapid.Custom(func(t *rapid.T) events.RetryPolicy {
		return events.RetryPolicy{
			Initial: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "initial")),
			Factor:  rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(1, 10)).Draw(t, "factor"),
			Max:     time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "max")),
		}
	})
}

// A delay is within nine tenths and the whole of what the policy says, grows with the attempts but for the jitter, and is
// the same for everybody who asks.
func TestRetryDelayStaysWithinBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := policies().Draw(t, "policy")
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		id := eventgen.Of[events.TaskID]().Draw(t, "task")
		limit := p.Max
		if limit == 0 {
			limit = max(events.DefaultRetryMax, p.Initial)
		}
		for n := events.Attempt(1); n < 50; n++ {
			d, next := p.Delay(id, n), p.Delay(id, n+1)
			switch {
			case d < 0 || d > limit:
				t.Fatalf("the delay after attempt %d is %v; the limit is %v", n, d, limit)
			case float64(next) < 0.9*float64(d)-float64(time.Microsecond):
				t.Fatalf("the delay falls from %v after attempt %d to %v", d, n, next)
			case d != p.Delay(id, n):
				t.Fatal("the delay is another one when asked again")
			case d != d.Truncate(time.Microsecond):
				t.Fatalf("the delay %v is not whole microseconds", d)
			}
		}
	})
}

func TestRetryDelayBeginsAtInitial(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := policies().Draw(t, "policy")
		p.Max = 0
		initial := p.Initial
		if initial == 0 {
			initial = events.DefaultRetryInitial
		}
		id := eventgen.Of[events.TaskID]().Draw(t, "task")
		if d := p.Delay(id, 1); d > initial || d < initial*9/10-time.Microsecond {
			t.Fatalf("the first delay is %v for an initial one of %v", d, initial)
		}
	})
}

func TestRunIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64Range(0, 1<<48-1)
		random := rapid.Custom(func(t *rapid.T) (b [10]byte) {
			copy(b[:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "bytes"))
			return b
		})
		early, late := at.Draw(t, "early"), at.Draw(t, "late")
		a, b := events.MakeRunID(early, random.Draw(t, "a")), events.MakeRunID(late, random.Draw(t, "b"))
		if a[6]>>4 != 7 || a[8]>>6 != 2 {
			t.Fatalf("%s is not a UUID of version 7", a)
		}
		if early < late && (bytes.Compare(a[:], b[:]) >= 0 || a.String() >= b.String()) {
			t.Fatalf("%s of %d does not sort before %s of %d", a, early, b, late)
		}
		if parsed, err := events.ParseRunID(a.String()); err != nil || parsed != a {
			t.Fatalf("%s is read as %s (%v)", a, parsed, err)
		}
		id := events.TaskID{Run: a, Step: events.Step(rapid.Uint64Min(1).Draw(t, "step"))}
		if parsed, err := events.ParseTaskID(id.String()); err != nil || parsed != id {
			t.Fatalf("%s is read as %s (%v)", id, parsed, err)
		}
	})
}

func TestBadRunIDs(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "01924560-6c00-7001-8203-04050607080", "01924560-6c00-7001-8203-0405060708090", "019245606c00-7001-8203-0405-06070809",
		"01924560-6c00-7001-8203-0405-607-809", "-1924560-6c00-7001-8203-04050607080-", "01924560-6c00-7001-8203-04050607080g",
		"00000000-0000-0000-0000-000000000000",
	} {
		if id, err := events.ParseRunID(bad); err == nil {
			t.Errorf("%q is read as %s", bad, id)
		}
	}
}

func TestBadTaskIDs(t *testing.T) {
	t.Parallel()
	const run = "01924560-6c00-7001-8203-040506070809"
	for _, s := range []string{"", "/", run, run + "/", run + "/0", run + "/01", run + "/+1", run + "/-1", run + "/1/2", "x/1", run + "/18446744073709551616"} {
		if id, err := events.ParseTaskID(s); err == nil {
			t.Errorf("%q is read as %s", s, id)
		}
	}
}

// Keys that people use, such as running numbers, spread evenly: no partition gets a fifth more than its share.
func TestPartitionsSpreadEvenly(t *testing.T) {
	t.Parallel()
	const count, keys = 16, 64_000
	for _, prefix := range []string{"", "billing/customer-", strings.Repeat("x", 200)} {
		var got [count]int
		for i := range keys {
			got[events.PartitionOf(events.DefaultNamespace, events.WorkflowID(prefix+strconv.Itoa(i)), count)]++
		}
		if low, high := slices.Min(got[:]), slices.Max(got[:]); low < keys/count*8/10 || high > keys/count*12/10 {
			t.Errorf("with prefix %.20q partitions get %d to %d of %d", prefix, low, high, keys/count)
		}
	}
}

func TestTimesConvert(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := events.Time(rapid.Int64Range(1, 4e15).Draw(t, "time"))
		if events.TimeOf(at.Std()) != at {
			t.Fatalf("%d becomes %v and %d", at, at.Std(), events.TimeOf(at.Std()))
		}
		d := time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "d")).Truncate(time.Microsecond)
		if at.Add(d).Sub(at) != d {
			t.Fatalf("%d plus %v minus itself is %v", at, d, at.Add(d).Sub(at))
		}
	})
	if events.TimeOf(time.Time{}) != 0 || !events.Time(0).Std().IsZero() {
		t.Error("no time is not no time")
	}
}

func TestStatusNames(t *testing.T) {
	t.Parallel()
	for s := events.StatusRunning; s <= events.StatusTimedOut; s++ {
		if parsed, ok := events.ParseStatus(s.String()); !ok || parsed != s {
			t.Errorf("%s is read as %s", s, parsed)
		}
	}
	for _, kind := range events.EventKinds() {
		if after := events.StatusAfter(events.StatusRunning, kind.Zero); after.Open() == events.EndsRun(kind.Zero) {
			t.Errorf("after %s a run is %s", kind.Name, after)
		}
	}
}
