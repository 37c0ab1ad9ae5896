package row

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Minute is the length of what step statistics are kept by, in µs.
const Minute events.Time = 60_000_000

// Hour is the length of what errors are counted by, in µs.
const Hour = 60 * Minute

// Floor returns the beginning of the span of the given length that t is in.
func Floor(t, span events.Time) events.Time {
	floor := t - t%span
	if floor > t {
		floor -= span
	}
	return floor
}

// StepKey names what step statistics are kept of: a task of a workflow type in a minute.
type StepKey struct {
	Namespace events.Namespace
	Minute    events.Time // its beginning
	Type      events.WorkflowType
	Task      events.TaskName
}

// KeyOf returns where an outcome of a task counts.
func KeyOf(o *Outcome) StepKey {
	return StepKey{Namespace: o.Namespace, Minute: Floor(o.Time, Minute), Type: o.Type, Task: o.Name}
}

// Compare orders keys by time, then by name.
func (k StepKey) Compare(other StepKey) int {
	return cmp.Or(cmp.Compare(k.Minute, other.Minute), cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Type, other.Type), cmp.Compare(k.Task, other.Task))
}

// Steps count outcomes of tasks. The zero value has none.
type Steps struct {
	// Done and Failed count tasks, Retried attempts that failed and were followed by another.
	Done, Failed, Retried uint64
	// Sum and Max are of the durations of what is done, in µs.
	Sum, Max int64
	Sketch   Sketch
}

// Total is the number of outcomes counted. It grows with each.
func (s *Steps) Total() uint64 { return s.Done + s.Failed + s.Retried }

// Add counts an outcome and reports whether it is one of a task.
func (s *Steps) Add(o *Outcome) bool {
	switch o.Kind {
	case TaskDone:
		s.Done++
		s.Sum += o.Took
		s.Max = max(s.Max, o.Took)
		s.Sketch.add(bucketOf(o.Took), 1)
	case TaskFailed:
		s.Failed++
	case TaskRetried:
		s.Retried++
	case StepFailed, CodeFailed, RunFailed:
		return false
	}
	return true
}

// Merge adds what another counted.
func (s *Steps) Merge(other *Steps) {
	s.Done, s.Failed, s.Retried = s.Done+other.Done, s.Failed+other.Failed, s.Retried+other.Retried
	s.Sum, s.Max = s.Sum+other.Sum, max(s.Max, other.Max)
	for _, bucket := range slices.Sorted(maps.Keys(other.Sketch)) {
		s.Sketch.add(bucket, other.Sketch[bucket])
	}
}

// Clone returns a copy that shares nothing.
func (s *Steps) Clone() Steps {
	c := *s
	c.Sketch = maps.Clone(s.Sketch)
	return c
}

// Percentile returns a duration that q of those done did not exceed, 0 < q ≤ 1, in µs. It is at most 2 % too high, and never
// higher than the longest. 0 means that none is done.
func (s *Steps) Percentile(q float64) int64 {
	rank := uint64(q * float64(s.Done))
	if float64(rank) < q*float64(s.Done) || rank == 0 {
		rank++
	}
	for _, bucket := range slices.Sorted(maps.Keys(s.Sketch)) {
		if n := s.Sketch[bucket]; n < rank {
			rank -= n
			continue
		}
		return min(upper(bucket), s.Max)
	}
	return 0
}

// Sketch counts durations by buckets, each 2 % wide. All models have the same buckets, so that they give the same answers.
type Sketch map[uint16]uint64

func (s *Sketch) add(bucket uint16, n uint64) {
	if *s == nil {
		*s = Sketch{}
	}
	(*s)[bucket] += n
}

// bounds are the highest durations of the buckets in µs, up to ten years. They are integers, so that they are the same on
// every machine.
var bounds = func() (all []int64) {
	const tenYears = 10 * 366 * 24 * 3600 * 1_000_000
	for at := int64(0); at < tenYears; at += max(1, at/50) {
		all = append(all, at)
	}
	return append(all, tenYears)
}()

func bucketOf(took int64) uint16 {
	i, _ := slices.BinarySearch(bounds, took)
	return uint16(min(i, len(bounds)-1))
}

func upper(bucket uint16) int64 { return bounds[min(int(bucket), len(bounds)-1)] }

// AppendSteps encodes counts, the same bytes for the same counts.
func AppendSteps(b []byte, s *Steps) []byte {
	for _, n := range []uint64{s.Done, s.Failed, s.Retried, uint64(s.Sum), uint64(s.Max), uint64(len(s.Sketch))} {
		b = binary.AppendUvarint(b, n)
	}
	var last uint16
	for _, bucket := range slices.Sorted(maps.Keys(s.Sketch)) {
		b = binary.AppendUvarint(b, uint64(bucket-last))
		b = binary.AppendUvarint(b, s.Sketch[bucket])
		last = bucket
	}
	return b
}

var errSteps = errors.New("counts of steps cannot be decoded")

// DecodeSteps reads what AppendSteps wrote.
func DecodeSteps(b []byte) (Steps, error) {
	ok := true
	next := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[size:]
		return n
	}
	s := Steps{Done: next(), Failed: next(), Retried: next(), Sum: int64(next()), Max: int64(next())}
	var bucket uint64
	for i, n := uint64(0), next(); ok && i < n; i++ {
		bucket += next()
		count := next()
		if ok = ok && bucket < uint64(len(bounds)); ok {
			s.Sketch.add(uint16(bucket), count)
		}
	}
	if !ok || len(b) > 0 {
		return Steps{}, errSteps
	}
	return s, nil
}

// ErrorKey names a kind of failure.
type ErrorKey struct {
	Namespace events.Namespace
	Hour      events.Time // its beginning
	// Of is where it is: "task", "step", "code" or "run".
	Of   string
	Type events.WorkflowType
	Name events.TaskName // of the task or step
	Code string
	// Message is the fingerprint of the message.
	Message string
}

// ErrorKeyOf returns where an outcome with a failure counts.
func ErrorKeyOf(o *Outcome) ErrorKey {
	return ErrorKey{
		Namespace: o.Namespace, Hour: Floor(o.Time, Hour), Of: o.Kind.String(), Type: o.Type, Name: o.Name, Code: o.Failure.Code,
		Message: Fingerprint(o.Failure.Message),
	}
}

// Errors count failures of one kind.
type Errors struct {
	Count uint64
	// Last is when the last one was, and Run and WorkflowID which run had it.
	Last       events.Time
	Run        events.RunID
	WorkflowID events.WorkflowID
}

// Add counts one more.
func (e *Errors) Add(o *Outcome) {
	e.Merge(&Errors{Count: 1, Last: o.Time, Run: o.RunID, WorkflowID: o.WorkflowID})
}

// Merge adds what another counted. Of two last ones at the same time the higher run id is kept.
func (e *Errors) Merge(other *Errors) {
	e.Count += other.Count
	if cmp.Or(cmp.Compare(other.Last, e.Last), slices.Compare(other.Run[:], e.Run[:])) > 0 {
		e.Last, e.Run, e.WorkflowID = other.Last, other.Run, other.WorkflowID
	}
}
