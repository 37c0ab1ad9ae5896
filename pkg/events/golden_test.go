package events_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// goldenVersions counts the forms of a type's full value. It is 1 for those that are not listed. Whoever adds a field to a
// type raises its number and runs the tests with -update: the bytes of earlier versions stay and must be readable for
// ever. Bytes that change without a new field are a mistake.
var goldenVersions = map[string]int{"RunContinued": 2, "ReportProgress": 2, "RunStarted": 2, "StartWorkflow": 2}

// golden is a value with its frozen bytes.
type golden struct {
	name   string
	bytes  []byte
	recode func([]byte) ([]byte, error) // decode and encode again
}

func goldens() []golden {
	var all []golden
	for _, kind := range events.EventKinds() {
		all = append(all, frozen(kind.Name, eventgen.Full(kind.Zero), events.AppendEvent, events.DecodeEvent))
	}
	for _, kind := range events.CommandKinds() {
		all = append(all, frozen(kind.Name, eventgen.Full(kind.Zero), events.AppendCommand, events.DecodeCommand))
	}
	for _, kind := range events.IntentKinds() {
		all = append(all, frozen(kind.Name, eventgen.Full(kind.Zero), events.AppendIntent, events.DecodeIntent))
	}
	record := fullRecord(7)
	envelope := eventgen.Full(events.Envelope{})
	envelope.Command = eventgen.Full(events.FailTask{})
	return append(all,
		frozenValue("Answer", eventgen.Full(events.Answer{}), events.AppendAnswer, events.DecodeAnswer),
		frozenValue("Payload", eventgen.Full(events.Payload{}), events.AppendPayload, events.DecodePayload),
		frozenValue("TaskOptions", eventgen.Full(events.TaskOptions{}), events.AppendTaskOptions, events.DecodeTaskOptions),
		frozenValue("WaitSet", eventgen.Full(events.WaitSet{}), events.AppendWaitSet, events.DecodeWaitSet),
		frozenValue("Envelope", envelope, events.AppendEnvelope, events.DecodeEnvelope),
		frozen("Failure", &events.Failure{
			Code: "declined", Message: "no", Type: "*pay.Error", NonRetryable: true, Details: eventgen.Full(events.Payload{}),
			Cause: &events.Failure{Code: "limit", Message: "too much"},
		}, events.AppendFailure, events.DecodeFailure),
		frozen("Record", record, events.AppendRecord, events.DecodeRecord),
		frozen("Frame", []*events.Record{record, fullRecord(9)}, func(b []byte, records []*events.Record) []byte {
			return events.AppendFrame(b, records...)
		}, events.DecodeFrame),
	)
}

func fullRecord(seq events.Seq) *events.Record {
	r := &events.Record{Header: eventgen.Full(events.Header{}), Answers: []events.Answer{{Session: 5, N: 6, Code: events.OK}}}
	r.Seq, r.Schema, r.Namespace = seq, events.Schema, events.DefaultNamespace
	r.Events = []events.Event{events.TaskCompleted{Step: 1, Attempt: 2, Worker: "w"}, events.RunTimedOut{}}
	return r
}

func frozen[T any](name string, v T, encode func([]byte, T) []byte, decode func([]byte) (T, error)) golden {
	return golden{name, encode(nil, v), func(b []byte) ([]byte, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		return encode(nil, v), nil
	}}
}

func frozenValue[T any](name string, v T, encode func([]byte, *T) []byte, decode func([]byte) (T, error)) golden {
	return frozen(name, v, func(b []byte, v T) []byte { return encode(b, &v) }, decode)
}

// The bytes of every type are frozen: logs and archives written today are read by every later version.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, g := range goldens() {
		names[g.name] = true
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			latest := max(1, goldenVersions[g.name])
			for version := 1; version <= latest; version++ {
				file := filepath.Join("testdata", "golden", fmt.Sprintf("%s.v%d.hex", g.name, version))
				if *update && version == latest {
					create(t, file, hexLines(g.bytes))
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatalf("%v: run go test ./pkg/events -update and commit the new file", err)
				}
				want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
				if err != nil {
					t.Fatal(err)
				}
				if version == latest && !bytes.Equal(g.bytes, want) {
					t.Errorf("encodes as\n%s instead of\n%s", hexLines(g.bytes), hexLines(want))
				}
				again, err := g.recode(want)
				if err != nil || !bytes.Equal(again, want) {
					t.Errorf("version %d is read and written as\n%s (%v) instead of\n%s", version, hexLines(again), err, hexLines(want))
				}
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(\w+)\.v(\d+)\.hex$`)
	for _, file := range files {
		m := form.FindStringSubmatch(filepath.Base(file))
		if m == nil || !names[m[1]] {
			t.Errorf("%s belongs to no type", file)
		} else if n, err := strconv.Atoi(m[2]); err != nil || n > max(1, goldenVersions[m[1]]) {
			t.Errorf("%s is newer than goldenVersions says", file)
		}
	}
}

func hexLines(b []byte) []byte {
	var text []byte
	for len(b) > 0 {
		n := min(32, len(b))
		text = append(hex.AppendEncode(text, b[:n]), '\n')
		b = b[n:]
	}
	return text
}

// create writes a file unless it exists.
func create(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		return
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// frozenText compares with a file that only ever is created.
func frozenText(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		create(t, file, []byte(got))
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: run go test ./pkg/events -update and commit the new file", err)
	}
	if got != string(want) {
		t.Errorf("%s changed; it is\n%s\ninstead of\n%s", name, got, want)
	}
}

// Payment providers have seen this text as an idempotency key.
func TestTaskIDTextIsFrozen(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1_727_740_800_000, [10]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	var b strings.Builder
	for _, step := range []events.Step{1, 7, 10, 4_294_967_296, 18_446_744_073_709_551_615} {
		fmt.Fprintln(&b, events.TaskID{Run: run, Step: step})
	}
	frozenText(t, "TaskID.v1.txt", b.String())
}

// Another partition of the same workflow id would lose its runs.
func TestPartitionOfIsFrozen(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, ns := range []events.Namespace{"", "default", "tenant-β"} {
		for _, id := range []events.WorkflowID{"", "a", "billing/customer-17", "order 4711", "ü/é", "default"} {
			for _, count := range []int{1, 3, 16, 1024, 65536} {
				fmt.Fprintf(&b, "%q %q of %d: %d\n", ns, id, count, events.PartitionOf(ns, id, count))
			}
		}
	}
	frozenText(t, "PartitionOf.v1.txt", b.String())
}

// Another run id for the same request would start it twice.
func TestRunIDForIsFrozen(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, id := range []events.WorkflowID{"", "billing/customer-17"} {
		for _, request := range []events.RequestID{"order-1", "order-2", "0190f0c4-5e6a-7c3e-9d55-0242ac120002"} {
			fmt.Fprintf(&b, "%q %q: %s\n", id, request, events.RunIDFor(events.DefaultNamespace, id, request))
		}
	}
	frozenText(t, "RunIDFor.v1.txt", b.String())
}

// Delays are part of histories: a machine that replays must come to the same.
func TestRetryDelaysAreFrozen(t *testing.T) {
	t.Parallel()
	run := events.MakeRunID(1_727_740_800_000, [10]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	var b strings.Builder
	for _, p := range []events.RetryPolicy{{}, {Initial: 1, Factor: 1.1, Max: 1000}, {Initial: 200_000_000, Factor: 3}} {
		for _, step := range []events.Step{1, 2, 1000} {
			for _, n := range []events.Attempt{1, 2, 3, 8, 1000} {
				fmt.Fprintf(&b, "%v factor %v max %v, step %d, attempt %d: %v\n", p.Initial, p.Factor, p.Max, step, n, p.Delay(events.TaskID{Run: run, Step: step}, n))
			}
		}
	}
	frozenText(t, "RetryDelay.v1.txt", b.String())
}
