package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of names and ids, in bytes.
const (
	MaxIDBytes        = 255 // workflow ids, namespaces
	MaxNameBytes      = 255 // types, tasks, signals, views, task queues, labels
	MaxRequestIDBytes = 128
)

// Namespace separates tenants. Only "default" exists until namespaces can be made.
type Namespace string

// DefaultNamespace is used where none is given.
const DefaultNamespace Namespace = "default"

// WorkflowID is the user's own key of a business process, such as "billing/customer-17". At most one run is open per
// workflow id and namespace.
type WorkflowID string

// WorkflowType names workflow code, such as "billing.Monthly".
type WorkflowType string

// TaskName names a task, such as "billing.PaymentService.Request".
type TaskName string

// TaskQueue names the queue that workers of a workflow or task listen on.
type TaskQueue string

// DefaultTaskQueue is used where none is given.
const DefaultTaskQueue TaskQueue = "default"

// SignalName names a signal.
type SignalName string

// ViewName names a view: state a run shows to readers.
type ViewName string

// RequestID makes a client's request repeatable: the same id gets the same answer. Empty means none.
type RequestID string

// BuildID names the build of a worker's binary. Empty means unknown.
type BuildID string

// WorkerID identifies one worker process for as long as it lives.
type WorkerID string

// SessionID identifies one life of a gateway; commands are stamped (session, partition, n).
type SessionID uint64

// OwnerID identifies one life of an engine process in the log.
type OwnerID uint64

// Partition is the number of a log partition, counted from 0.
type Partition uint16

// Seq is the position of a record in its partition, counted from 1; 0 means none.
type Seq uint64

// EventNumber is the position of an event in its run's history, counted from 1; 0 means none.
type EventNumber uint64

// Step is the number of a call within a run, counted from 1 in the deterministic order of the workflow's code and never
// reset, not by Continue either; 0 means none.
type Step uint64

// Attempt counts the tries of one task or activation from 1.
type Attempt uint32

// RunID identifies one run of a workflow: a UUIDv7 made by whoever starts it, so that a repeated start is recognized.
type RunID [16]byte

// MakeRunID builds a UUIDv7 from a time in milliseconds and ten random bytes.
func MakeRunID(unixMs int64, random [10]byte) RunID {
	var id RunID
	id[0], id[1], id[2] = byte(unixMs>>40), byte(unixMs>>32), byte(unixMs>>24)
	id[3], id[4], id[5] = byte(unixMs>>16), byte(unixMs>>8), byte(unixMs)
	copy(id[6:], random[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// RunIDFor returns the run id of a start that is made repeatable by a request id: the request id itself when it is a UUID,
// else a hash of it and of what it is about (a UUID of version 8). The function is frozen: a change would start runs twice.
func RunIDFor(ns Namespace, id WorkflowID, request RequestID) RunID {
	if run, err := ParseRunID(string(request)); err == nil {
		return run
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%d:%s%s", len(ns), ns, len(id), id, request))
	run := RunID(sum[:16])
	run[6] = run[6]&0x0f | 0x80
	run[8] = run[8]&0x3f | 0x80
	return run
}

// ParseRunID reads the canonical 36-character text of a run id, any version and variant, except the one of zeros, which
// means "none".
func ParseRunID(s string) (RunID, error) {
	var id RunID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return RunID{}, fmt.Errorf("run id %.40q is not a UUID such as 0190f0c4-5e6a-7c3e-9d55-0242ac120002", s)
	}
	var digits [32]byte
	n := copy(digits[:], s[:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return RunID{}, fmt.Errorf("run id %q is not a UUID: %w", s, err)
	}
	if id.IsZero() {
		return RunID{}, fmt.Errorf("run id %q is the UUID that means none", s)
	}
	return id, nil
}

// IsZero reports whether id is unset.
func (id RunID) IsZero() bool { return id == RunID{} }

// String returns the canonical 36-character text; the zero id gives "".
func (id RunID) String() string {
	if id.IsZero() {
		return ""
	}
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText returns the canonical text.
func (id RunID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the canonical text; empty text gives the zero id.
func (id *RunID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = RunID{}
		return nil
	}
	parsed, err := ParseRunID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// TaskID names one task of one run. Its text run/step is what users hand to other systems as an idempotency key; it is
// frozen and the same for every attempt.
type TaskID struct {
	Run  RunID
	Step Step
}

// String returns "run/step", for example "0190f0c4-5e6a-7c3e-9d55-0242ac120002/7".
func (t TaskID) String() string { return t.Run.String() + "/" + strconv.FormatUint(uint64(t.Step), 10) }

// ParseTaskID reads the text of a task id.
func ParseTaskID(s string) (TaskID, error) {
	run, step, ok := strings.Cut(s, "/")
	if !ok {
		return TaskID{}, fmt.Errorf("task id %.60q is not run/step", s)
	}
	id, err := ParseRunID(run)
	if err != nil {
		return TaskID{}, err
	}
	n, err := strconv.ParseUint(step, 10, 64)
	if err != nil || n == 0 || step[0] == '+' || (len(step) > 1 && step[0] == '0') {
		return TaskID{}, fmt.Errorf("task id %.60q: the step is not a number from 1", s)
	}
	return TaskID{Run: id, Step: Step(n)}, nil
}

// PartitionOf returns the partition of a workflow id among count partitions: FNV-1a 64 over the length-prefixed namespace
// and workflow id, then a final avalanche. The function is frozen: a change would lose every run.
func PartitionOf(ns Namespace, id WorkflowID, count int) Partition {
	h := uint64(14695981039346656037)
	mix := func(s string) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		for _, c := range n {
			h = (h ^ uint64(c)) * 1099511628211
		}
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	mix(string(ns))
	mix(string(id))
	h = avalanche(h)
	return Partition(h % uint64(count))
}

// avalanche spreads every input bit over all output bits (the finalizer of splitmix64).
func avalanche(h uint64) uint64 {
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9
	h = (h ^ (h >> 27)) * 0x94d049bb133111eb
	return h ^ (h >> 31)
}

// ErrBadID is wrapped by every error of a Validate method of an id or name.
var ErrBadID = errors.New("bad id")

// Validate reports why ns cannot be a namespace: it has 1 to [MaxIDBytes] bytes of visible UTF-8 without spaces.
func (n Namespace) Validate() error { return checkText("namespace", string(n), MaxIDBytes, false) }

// Validate reports why id cannot be a workflow id: it has 1 to [MaxIDBytes] bytes of UTF-8 without control characters and
// without space at either end.
func (id WorkflowID) Validate() error { return checkText("workflow id", string(id), MaxIDBytes, true) }

// Validate reports why t cannot be a workflow type: it has 1 to [MaxNameBytes] bytes of visible UTF-8 without spaces.
func (t WorkflowType) Validate() error {
	return checkText("workflow type", string(t), MaxNameBytes, false)
}

// Validate reports why n cannot be a task name: it has 1 to [MaxNameBytes] bytes of visible UTF-8 without spaces.
func (n TaskName) Validate() error { return checkText("task name", string(n), MaxNameBytes, false) }

// Validate reports why q cannot be a task queue: it has 1 to [MaxNameBytes] bytes of visible UTF-8 without spaces.
func (q TaskQueue) Validate() error { return checkText("task queue", string(q), MaxNameBytes, false) }

// Validate reports why n cannot be a signal name: it has 1 to [MaxNameBytes] bytes of visible UTF-8 without spaces.
func (n SignalName) Validate() error { return checkText("signal name", string(n), MaxNameBytes, false) }

// Validate reports why n cannot be a view name: it has 1 to [MaxNameBytes] bytes of visible UTF-8 without spaces.
func (n ViewName) Validate() error { return checkText("view name", string(n), MaxNameBytes, false) }

// Validate reports why id cannot be a request id: it has at most [MaxRequestIDBytes] bytes of visible UTF-8 without
// spaces. Empty is valid and means none.
func (id RequestID) Validate() error {
	if id == "" {
		return nil
	}
	return checkText("request id", string(id), MaxRequestIDBytes, false)
}

func checkText(what, s string, limit int, spaces bool) error {
	switch {
	case s != "" && len(s) <= limit && isVisibleASCII(s):
		return nil // nearly always
	case s == "":
		return fmt.Errorf("%w: %s is empty; it needs 1 to %d bytes", ErrBadID, what, limit)
	case len(s) > limit:
		return fmt.Errorf("%w: %s %.40q… has %d bytes; the limit is %d", ErrBadID, what, s, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s %q is not valid UTF-8", ErrBadID, what, s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%w: %s %q has space at an end; trim it", ErrBadID, what, s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError || (!spaces && unicode.IsSpace(r)) {
			return fmt.Errorf("%w: %s %q has the character %U, which is not allowed", ErrBadID, what, s, r)
		}
	}
	return nil
}

func isVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
