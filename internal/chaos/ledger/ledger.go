// Package ledger is what a chaos run writes down on its own, independent of the suite under test: what clients asked and
// were told, what workers executed, and which processes were killed or stopped when.
//
// All times are nanoseconds of one clock that does not follow the wall clock and is the same in all processes of a machine.
package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
)

// Verb is what a client asked for.
type Verb string

// The verbs of operations.
const (
	Start     Verb = "start"
	Signal    Verb = "signal"
	Extra     Verb = "extra" // a signal that a run takes if it comes in time
	Cancel    Verb = "cancel"
	Terminate Verb = "terminate"
	Status    Verb = "status" // is the newest run open, and if not how did it end
	Result    Verb = "result" // wait for the end of a run; Value is its result
)

// Unknown is the code of an operation whose client gave up waiting: it may have happened, or happen later.
const Unknown = "unknown"

// OK is the code of an operation that was acknowledged.
const OK = "ok"

// Never is the time at which an operation with an unknown outcome returns.
const Never = math.MaxInt64

// Op is one operation of a client. Operations with the same Request are the same request, sent again.
type Op struct {
	Client   int    `json:"client"`
	Verb     Verb   `json:"verb"`
	Workflow string `json:"workflow"`
	Request  string `json:"request,omitempty"`
	Value    string `json:"value,omitempty"` // of a signal
	Call     int64  `json:"call_ns"`
	Return   int64  `json:"return_ns"`
	Code     string `json:"code"` // OK, Unknown, or that of the refusal
	// Run is the run that the answer is about.
	Run string `json:"run,omitempty"`
	// State is what a Status saw: running or how the run ended, and with which items.
	State string   `json:"state,omitempty"`
	Items []string `json:"items,omitempty"`
}

// Acked reports whether the operation was acknowledged.
func (o *Op) Acked() bool { return o.Code == OK }

// Changes reports whether the operation is a command; the others only look.
func (o *Op) Changes() bool { return o.Verb != Status && o.Verb != Result }

// Execution is one execution of a task's or step's code.
type Execution struct {
	Run     string `json:"run"`
	Step    uint64 `json:"step"`
	Attempt uint32 `json:"attempt"`
	Name    string `json:"name,omitempty"`
	// IsStep is set for a step, which its workflow's worker executes.
	IsStep bool `json:"is_step,omitempty"`
	// Worker is the worker process: its place and its life.
	Worker string `json:"worker,omitempty"`
	Begin  int64  `json:"begin_ns"`
	// End is 0 when the execution did not come to its end. Failed says that the code returned an error.
	End    int64 `json:"end_ns,omitempty"`
	Failed bool  `json:"failed,omitempty"`
}

// Fault is a kill or a pause of one process.
type Fault struct {
	// Process is "server" or the name of a worker process.
	Process string `json:"process"`
	// Pause is set for a SIGSTOP; otherwise it was a SIGKILL.
	Pause bool `json:"pause,omitempty"`
	// From is just before the signal was sent. To is when the process was back: ready, or continued.
	From int64 `json:"from_ns"`
	To   int64 `json:"to_ns"`
}

// ServerProcess is the name of the server in faults.
const ServerProcess = "server"

// Book collects operations and faults, and writes each to a file. Its methods may be called from any goroutine.
type Book struct {
	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	err    error
	ops    []Op
	faults []Fault
	acked  int
}

// Open makes a book that writes into a file.
func Open(path string) (*Book, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return &Book{file: file, buffer: bufio.NewWriter(file)}, nil
}

// Note adds an operation.
func (b *Book) Note(op Op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ops = append(b.ops, op)
	if op.Acked() && op.Changes() {
		b.acked++
	}
	b.write(op)
}

// NoteFault adds a fault.
func (b *Book) NoteFault(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, f)
	b.write(f)
}

// write adds a line. The caller holds the lock.
func (b *Book) write(line any) {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = b.buffer.Write(append(text, '\n'))
	}
	b.err = errors.Join(b.err, err)
}

// Acked counts the acknowledged commands until now.
func (b *Book) Acked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acked
}

// Close ends the writing and returns what was noted.
func (b *Book) Close() ([]Op, []Fault, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ops, b.faults, errors.Join(b.err, b.buffer.Flush(), b.file.Close())
}

// ReadExecutions reads what all workers wrote into a directory. A line that a kill cut off is left out.
func ReadExecutions(dir string) ([]Execution, error) {
	var all []Execution
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		read, err := readExecutions(path)
		all = append(all, read...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("executions: %w", err)
	}
	return all, nil
}
