package post

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

var (
	aReport = inbox.Report{
		Session: 7,
		Joined: []inbox.Worker{{
			Session: 7, ID: "w", Identity: "host/1", Build: "b1", SDK: "go", Queue: "q", Tasks: []inbox.Offer{{Name: "t", Signature: "s"}},
			Workflows: []inbox.Offer{{Name: "f"}}, TaskSlots: 2, ActivationSlots: 3, Since: -4,
		}},
		Left:     []events.WorkerID{"v"},
		Running:  []inbox.Running{{Worker: "w", Namespace: "n", WorkflowID: "id", RunID: events.RunID{1}, Step: 2, Attempt: 3}},
		Credits:  []inbox.Credit{{Worker: "w", Tasks: -1, Activations: 5}},
		Returned: []inbox.Running{{Worker: "w", Activation: 9}},
		Refused:  []inbox.Running{{Worker: "w", Step: 4}},
		Over:     []inbox.Running{{Worker: "w", Step: 5}},
		Live:     []inbox.Live{{Worker: "w", RunID: events.RunID{2}, Evicted: true}},
	}
	someDeliveries = []inbox.Delivery{
		{Worker: "w", Partition: 3, From: 9, Number: 2, NotAfter: 11, Task: &events.OpenTask{
			Namespace: "n", WorkflowID: "id", Task: events.TaskID{Run: events.RunID{1}, Step: 2}, Attempt: 1, Name: "t", Queue: "q", NotBefore: 5, Scheduled: 6,
			OfferTo: 7, OfferUntil: 8, Call: &events.TaskScheduled{Step: 2, Name: "t", Queue: "q", Input: events.Payload{Data: []byte("1")}},
		}},
		{Worker: "w", Activation: &events.OpenActivation{
			Namespace: "n", WorkflowID: "id", RunID: events.RunID{1}, Number: 4, At: 5,
			Activation: events.ActivationScheduled{Activation: 1, Attempt: 1, Type: "f", Queue: "q"},
		}},
	}
)

// everything has an item of each kind.
func everything(t testing.TB) []item {
	t.Helper()
	items, err := deliveryItems(7, 3, someDeliveries)
	if err != nil {
		t.Fatal(err)
	}
	s := stateItem{process: 8, epoch: 3, received: 5, taken: 4, begins: true, all: true, first: true, last: true, answers: []answer{{9, 1}}, report: aReport}
	return append(items, reportItem(4, &aReport), ackItem(7, 4), s.item(), item{kind: gone, session: 7}, questionItem(9, 7, true, 2))
}

func encode(items ...item) []byte {
	var b []byte
	for _, i := range items {
		b = appendItem(b, i)
	}
	return appendMessage(nil, 0x1122334455667788, 300, 299, b)
}

// golden is a message with an item of each kind.
var golden = []string{
	"01aa6cec911122334455667788ac02ab0201000000000000000763030201770309021601016e02696401000000000000000000000000000000020101",
	"7401710a0607100f220d08021201741a0171220312013101770000000002016e02696401000000000000000000000000000000040a0c120a08011001",
	"1a01662201710200000000000000079e010401017706686f73742f3102623102676f0171010174017301016600040607010176010177016e02696401",
	"000000000000000000000000000000020003010177010a01017700000000000000000000000000000000000000090001017700000000000000000000",
	"000000000000000004000001017700000000000000000000000000000000000005000001017702000000000000000000000000000000010300000000",
	"000000070104040000000000000007b30100000000000000080305040f0100000000000000090101017706686f73742f3102623102676f0171010174",
	"017301016600040607010176010177016e02696401000000000000000000000000000000020003010177010a01017700000000000000000000000000",
	"000000000000090001017700000000000000000000000000000000000004000001017700000000000000000000000000000000000005000001017702",
	"00000000000000000000000000000001050000000000000007000600000000000000070a00000000000000090102",
}

func TestMessageRoundTrip(t *testing.T) {
	t.Parallel()
	b := encode(everything(t)...)
	m, err := decodeMessage(b)
	if err != nil || m.life != 0x1122334455667788 || m.n != 300 || m.low != 299 || len(m.items) != 6 {
		t.Fatalf("%v, %+v", err, m)
	}
	equal := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	epoch, all, err := readDeliveries(m.items[0].body)
	if err != nil || epoch != 3 {
		t.Errorf("%v, epoch %d", err, epoch)
	}
	equal("deliveries", all, someDeliveries)
	taken, r, err := readReportItem(m.items[1])
	if err != nil || taken != 4 {
		t.Errorf("%v, taken %d", err, taken)
	}
	equal("report", r, aReport)
	if taken, err := readAck(m.items[2]); err != nil || taken != 4 {
		t.Errorf("%v, taken %d", err, taken)
	}
	s, err := readState(m.items[3])
	if err != nil || s.process != 8 || s.epoch != 3 || s.received != 5 || s.taken != 4 || !s.begins || !s.all || !s.first || !s.last {
		t.Errorf("%v, %+v", err, s)
	}
	equal("state", s.report, aReport)
	if life, anew, number, err := readQuestion(m.items[5]); err != nil || life != 9 || !anew || number != 2 {
		t.Errorf("%v, question %d of life %d", err, number, life)
	}
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1 << rand.IntN(8)
		if _, err := decodeMessage(damaged); err == nil {
			t.Errorf("byte %d changed, and the message is read", i)
		}
		if _, err := decodeMessage(b[:i]); err == nil {
			t.Errorf("it is read when cut at %d", i)
		}
	}
}

// TestGolden: processes of two versions talk to each other while a cluster is upgraded, so bytes of version 1 do not change.
func TestGolden(t *testing.T) {
	t.Parallel()
	if got := hex.EncodeToString(encode(everything(t)...)); got != strings.Join(golden, "") {
		t.Errorf("the bytes are\n%s", got)
	}
	for session, want := range map[events.SessionID]events.Partition{1: 12, 2: 7, 1 << 63: 3} {
		if got := PartitionOf(session, 16); got != want {
			t.Errorf("session %d is in partition %d", session, got)
		}
	}
}

// TestNewerItemsAreSkipped: what a newer version says besides is not understood, and the rest is.
func TestNewerItemsAreSkipped(t *testing.T) {
	t.Parallel()
	c := New(Config{Life: 1, Partitions: 1, Silence: 4})
	s := stateItem{process: 8, epoch: 1, begins: true, all: true, first: true, last: true, report: aReport}
	longer := s.item()
	longer.body = append(longer.body, "a newer field"...)
	items := appendItem(appendItem(nil, item{kind: 99, session: 7, body: []byte("newer")}), longer)
	c.Read(0, appendMessage(nil, 5, 1, 1, items))
	if r := c.Follow().Take(1); len(r) != 1 || r[0].Session != 7 {
		t.Errorf("the state is %+v; %+v", r, c.Stats())
	}
}

func FuzzRead(f *testing.F) {
	f.Add(encode(everything(f)...)[5:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		// The checksum is right, so that what follows is looked at.
		if len(content) < 10 {
			return
		}
		life, rest := reading{b: content}, content[8:]
		b := appendMessage(nil, life.fixed(), 1, 1, rest)
		if _, err := decodeMessage(append([]byte{version}, content...)); err == nil {
			t.Skip("a checksum by chance")
		}
		c := New(Config{Life: 1, Partitions: 1, Delivers: true, Silence: 4})
		if err := c.Open(7); err != nil {
			t.Fatal(err)
		}
		follower := c.Follow()
		c.Next(0)
		c.Read(0, b)
		follower.Take(100)
		if m, err := decodeMessage(b); err == nil {
			for _, i := range m.items {
				again(t, i)
			}
		}
	})
}

// again checks that what was read is read the same when it is written again.
func again(t *testing.T, i item) {
	t.Helper()
	equal := func(a, b any) {
		if diff := cmp.Diff(a, b, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	}
	switch i.kind {
	case deliveries:
		if epoch, all, err := readDeliveries(i.body); err == nil && len(i.body) < maxItemBytes/2 {
			items, err := deliveryItems(i.session, epoch, all)
			if err != nil || len(items) > 1 {
				t.Fatalf("%v, %d items", err, len(items))
			}
			for _, one := range items {
				_, b, err := readDeliveries(one.body)
				if err != nil {
					t.Fatal(err)
				}
				equal(all, b)
			}
		}
	case report:
		if taken, r, err := readReportItem(i); err == nil {
			_, b, err := readReportItem(reportItem(taken, &r))
			if err != nil {
				t.Fatal(err)
			}
			equal(r, b)
		}
	case state:
		if s, err := readState(i); err == nil {
			b, err := readState(s.item())
			if err != nil {
				t.Fatal(err)
			}
			equal(s.report, b.report)
		}
	case ack, gone, question:
	}
}
