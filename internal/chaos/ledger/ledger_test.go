package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/continuo-dev/continuo/internal/chaos/ledger"
	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// TestExecutionsOutliveTheirProcess: what was written is read, whether it ended or not; half a line at the end is a kill.
func TestExecutionsOutliveTheirProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x, err := ledger.OpenExecutions(dir, "w1.2", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	of := func(step events.Step) task.Execution {
		return task.Execution{ID: events.TaskID{Run: events.MakeRunID(1, [10]byte{1}), Step: step}, Attempt: 3, Name: "n"}
	}
	x.Begin(of(1), false)(nil)
	x.Begin(of(2), true)(errors.New("no"))
	x.Begin(of(3), false)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "w1.2.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"id":4,"run`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := ledger.ReadExecutions(dir)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, want := range []struct{ ended, failed, step bool }{{true, false, false}, {true, true, true}, {false, false, false}} {
		e := all[i]
		if e.Step != uint64(i+1) || e.Attempt != 3 || e.Worker != "w1.2" || e.Begin == 0 || e.End != 0 != want.ended || e.Failed != want.failed || e.IsStep != want.step {
			t.Errorf("%+v, want %+v", e, want)
		}
	}
}

func TestBookKeepsAndCounts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	b, err := ledger.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b.Note(ledger.Op{Verb: ledger.Start, Code: ledger.OK})
	b.Note(ledger.Op{Verb: ledger.Status, Code: ledger.OK})
	b.Note(ledger.Op{Verb: ledger.Signal, Code: ledger.Unknown})
	b.NoteFault(ledger.Fault{Process: ledger.ServerProcess})
	if b.Acked() != 1 {
		t.Errorf("%d acknowledged commands, want 1", b.Acked())
	}
	ops, faults, err := b.Close()
	text, _ := os.ReadFile(path)
	if err != nil || len(ops) != 3 || len(faults) != 1 || strings.Count(string(text), "\n") != 4 {
		t.Errorf("%v, %v, %v\n%s", ops, faults, err, text)
	}
}
