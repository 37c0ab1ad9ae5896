package machine_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine/machine"
)

// TestScripts runs testdata/*.txt. Directives:
//
//	do        one batch: a command per line of input; prints the events, the answers (=) and what Settle adds (>)
//	at +5s    moves the time
//	state     prints the run
//	apply     applies one event outside of any command; prints its error
//
// Times are printed as the distance to the beginning. Commands are described at [script.command].
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, at: begin}
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			switch d.Cmd {
			case "do":
				s.batch(strings.Split(strings.TrimSpace(d.Input), "\n"))
			case "at":
				s.at = s.at.Add(s.duration(d.CmdArgs[0].Key))
				fmt.Fprintf(&s.out, "%s\n", s.when(s.at))
			case "state":
				s.out.WriteString(stamp(s.run.Describe()))
			case "apply":
				s.applyRaw(strings.TrimSpace(d.Input))
			default:
				d.Fatalf(t, "unknown directive %s", d.Cmd)
			}
			return s.out.String()
		})
	})
}

// begin is the time at which every script and law starts.
const begin = events.Time(1_700_000_000_000_000)

var header = events.Header{Namespace: "default", WorkflowID: "billing/17", RunID: runID(1)}

func runID(n byte) events.RunID { return events.MakeRunID(1_700_000_000_000, [10]byte{9: n}) }

// stamp makes times in the text relative to begin.
func stamp(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		digits, rest, _ := strings.Cut(w, "\n")
		if v, err := strconv.ParseInt(digits, 10, 64); err == nil && v >= int64(begin) {
			words[i] = "+" + events.Time(v).Sub(begin).String()
			if rest != "" || strings.HasSuffix(w, "\n") {
				words[i] += "\n" + rest
			}
		}
	}
	return strings.Join(words, " ")
}

type script struct {
	t    *testing.T
	run  *machine.Run
	at   events.Time
	last events.ActivationScheduled
	out  strings.Builder
}

func (s *script) when(t events.Time) string { return "+" + t.Sub(begin).String() }

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(strings.TrimPrefix(text, "+"))
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *script) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) batch(lines []string) {
	if s.run == nil {
		s.run = machine.NewRun(header)
	}
	for _, line := range lines {
		env := events.Envelope{Namespace: header.Namespace, WorkflowID: header.WorkflowID, RunID: header.RunID}
		env.Command = s.command(line)
		before := s.run.AppendTo(nil)
		evs, answer := s.run.Decide(env, s.at)
		again, sameAnswer := s.run.Decide(env, s.at)
		if !reflect.DeepEqual(evs, again) || !reflect.DeepEqual(answer, sameAnswer) {
			s.t.Errorf("%s: deciding twice differs", line)
		}
		if !bytes.Equal(before, s.run.AppendTo(nil)) {
			s.t.Errorf("%s: deciding changed the run", line)
		}
		s.apply("", evs)
		fmt.Fprintf(&s.out, "= %s\n", describeAnswer(answer))
	}
	s.apply("> ", s.run.Settle(s.at))
	if more := s.run.Settle(s.at); more != nil {
		s.t.Errorf("settled twice: %v", more)
	}
	decoded, err := machine.Decode(s.run.AppendTo(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(decoded.AppendTo(nil), s.run.AppendTo(nil)) || decoded.Describe() != s.run.Describe() {
		s.t.Errorf("the decoded run differs:\n%s\n%s", decoded.Describe(), s.run.Describe())
	}
	s.run = decoded
}

func (s *script) apply(prefix string, evs []events.Event) {
	for _, e := range evs {
		n := s.run.Next()
		if err := s.run.Apply(e, n, s.at); err != nil {
			s.t.Fatal(err)
		}
		if a, ok := e.(events.ActivationScheduled); ok {
			s.last = a
		}
		fmt.Fprintf(&s.out, "%s%d %s\n", prefix, n, describe(e))
	}
}

// applyRaw applies an event made of a line, to see it refused.
func (s *script) applyRaw(line string) {
	e := map[string]events.Event{
		"started":     events.RunStarted{Type: "x"},
		"activation":  events.ActivationScheduled{Activation: 99, Attempt: 1},
		"progress":    events.ProgressMade{Activation: 99, Attempt: 1},
		"scheduled":   events.TaskScheduled{Step: 1, Name: "charge"},
		"retried":     events.TaskAttemptFailed{Step: 77, Attempt: 1},
		"completed":   events.TaskCompleted{Step: 77, Attempt: 1},
		"heartbeat":   events.HeartbeatRecorded{Step: 77, Attempt: 1},
		"armed":       events.TimerStarted{Step: 90},
		"fired":       events.TimerFired{Step: 77},
		"disarmed":    events.TimerCancelled{Step: 77},
		"recorded":    events.StepRecorded{Step: 1},
		"backed-off":  events.StepBackedOff{Step: 90},
		"retry-due":   events.StepRetryDue{Step: 77},
		"signal":      events.SignalReceived{Name: "stop", Index: 50},
		"cancel":      events.CancelRequested{},
		"continued":   events.RunContinued{},
		"ended":       events.RunCompleted{},
		"quarantined": events.RunQuarantined{Reason: "broken"},
		"released":    events.RunReleased{},
		"purged":      events.RunPurged{},
		"epoch":       events.EpochStarted{},
		"failed":      events.ActivationFailed{Activation: 99},
		"timed-out":   events.ActivationTimedOut{Activation: 99},
		"refused":     events.ProgressRefused{Activation: 99},
	}[line]
	before := s.run.AppendTo(nil)
	if err := s.run.Apply(e, s.run.Next(), s.at); err != nil {
		fmt.Fprintf(&s.out, "error: %s\n", stamp(err.Error()))
		if !bytes.Equal(before, s.run.AppendTo(nil)) {
			s.t.Errorf("%s: a refused event changed the run", line)
		}
		return
	}
	s.out.WriteString("applied\n")
}

// describe prints the fields of an event or answer that are set.
func describe(v any) string {
	var b strings.Builder
	rv := reflect.ValueOf(v)
	b.WriteString(rv.Type().Name())
	fields(&b, "", rv)
	return b.String()
}

func describeAnswer(a events.Answer) string {
	code := string(a.Code)
	a.Code, a.Session, a.N = "", 0, 0
	if a.RunID == header.RunID {
		a.RunID = events.RunID{}
	}
	return code + strings.TrimPrefix(describe(a), "Answer")
}

func fields(b *strings.Builder, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Field(i), prefix+v.Type().Field(i).Name
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		switch x := f.Interface().(type) {
		case events.Payload:
			switch {
			case len(x.Data) > 40:
				fmt.Fprintf(b, " %s=%d bytes", name, len(x.Data))
			case !x.IsZero():
				fmt.Fprintf(b, " %s=%s", name, x.Data)
			}
		case events.Time:
			if x != 0 {
				fmt.Fprintf(b, " %s=+%s", name, x.Sub(begin))
			}
		case fmt.Stringer:
			if !f.IsZero() {
				fmt.Fprintf(b, " %s=%s", name, x)
			}
		default:
			switch {
			case f.IsZero():
			case f.Kind() == reflect.Struct:
				fields(b, name+".", f)
			case f.Kind() == reflect.Slice:
				fmt.Fprintf(b, " %s=%v", name, x)
			default:
				fmt.Fprintf(b, " %s=%v", name, x)
			}
		}
	}
}
