package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/continuo-dev/continuo/internal/clock"
	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Executions is the file into which one worker process writes what it executes. Each line is one write that appends: it
// outlives the kill of the process, though not a loss of power.
type Executions struct {
	file  *os.File
	clock clock.Clock
	next  atomic.Int64
}

// executionLine is a line of the file: the beginning of an execution, or its end.
type executionLine struct {
	ID int64 `json:"id"`
	Execution
}

// OpenExecutions makes the file of a worker process, which is named after it.
func OpenExecutions(dir, worker string, c clock.Clock) (*Executions, error) {
	file, err := os.OpenFile(filepath.Join(dir, worker+executionsSuffix), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("executions of worker %s: %w", worker, err)
	}
	return &Executions{file: file, clock: c}, nil
}

const executionsSuffix = ".jsonl"

// Begin writes down that an execution begins; the function that it returns, that it has ended. A worker that cannot write
// panics: its executions would be missed.
func (e *Executions) Begin(t task.Execution, step bool) func(error) {
	line := executionLine{ID: e.next.Add(1), Execution: Execution{
		Run: t.ID.Run.String(), Step: uint64(t.ID.Step), Attempt: uint32(t.Attempt), Name: string(t.Name), IsStep: step, Begin: int64(e.clock.Boot()),
	}}
	e.write(line)
	return func(err error) {
		line.End, line.Failed = int64(e.clock.Boot()), err != nil
		e.write(line)
	}
}

func (e *Executions) write(line executionLine) {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = e.file.Write(append(text, '\n'))
	}
	if err != nil {
		panic(fmt.Sprintf("an execution cannot be written down: %v", err))
	}
}

// Close closes the file.
func (e *Executions) Close() error { return e.file.Close() }

// readExecutions reads the file of one worker process.
func readExecutions(path string) ([]Execution, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	worker := strings.TrimSuffix(filepath.Base(path), executionsSuffix)
	var all []Execution
	at := map[int64]int{}
	for number := 1; len(text) > 0; number++ {
		raw, rest, whole := bytes.Cut(text, []byte("\n"))
		text = rest
		if !whole {
			break
		}
		var line executionLine
		if err := json.Unmarshal(raw, &line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		line.Worker = worker
		if i, begun := at[line.ID]; begun {
			all[i] = line.Execution
			continue
		}
		if line.End != 0 {
			return nil, errors.New(path + ": an execution ended that has not begun")
		}
		at[line.ID] = len(all)
		all = append(all, line.Execution)
	}
	return all, nil
}
