package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// maxValue bounds a value in a line of a table, in characters.
const maxValue = 60

// summary returns what an event says, on one line.
func summary(e events.Event) string {
	switch e := e.(type) {
	case events.RunStarted:
		return phrase(string(e.Type), value(e.Input), on(e.Queue))
	case events.ActivationScheduled, events.ProgressMade, events.ProgressRefused, events.ActivationFailed, events.ActivationTimedOut:
		return activationSummary(e)
	case events.TaskScheduled, events.TaskAttemptFailed, events.TaskCompleted, events.TaskFailed, events.TaskCancelled, events.HeartbeatRecorded:
		return taskSummary(e)
	case events.TimerStarted:
		return phrase(step(e.Step), "due", moment(e.Due))
	case events.TimerFired:
		return step(e.Step)
	case events.TimerCancelled:
		return step(e.Step)
	case events.StepRecorded:
		if e.Failure != nil {
			return phrase(step(e.Step), e.Label, attempt(e.Attempts), e.Failure.Error())
		}
		return phrase(step(e.Step), e.Label, attempt(e.Attempts), value(e.Result))
	case events.StepBackedOff:
		return phrase(step(e.Step), e.Label, attempt(e.Attempt), e.Failure.Error()+"; next try", moment(e.Until))
	case events.StepRetryDue:
		return step(e.Step)
	case events.ViewSet:
		return phrase(string(e.Name), value(e.Value))
	case events.SignalReceived:
		return phrase(string(e.Name), "#"+strconv.FormatUint(e.Index, 10), value(e.Input))
	case events.CancelRequested:
		return oneLine(e.Reason)
	case events.RunContinued:
		return value(e.Input)
	case events.RunCompleted:
		return phrase(value(e.Result), unread(e.Unread))
	case events.RunFailed:
		return phrase(e.Failure.Error(), unread(e.Unread))
	case events.RunCancelled:
		return phrase(e.Failure.Error(), unread(e.Unread))
	case events.RunTerminated:
		return oneLine(e.Reason)
	case events.RunQuarantined:
		return oneLine(e.Reason)
	case events.RunReleased:
		return oneLine(e.Reason)
	case events.RunTimedOut, events.RunPurged, events.EpochStarted:
	}
	return ""
}

func activationSummary(e events.Event) string {
	name := func(number uint64, n events.Attempt) string {
		return phrase("activation "+strconv.FormatUint(number, 10), attempt(n))
	}
	switch e := e.(type) {
	case events.ActivationScheduled:
		if e.NotBefore > 0 {
			return phrase(name(e.Activation, e.Attempt), "not before", moment(e.NotBefore))
		}
		return name(e.Activation, e.Attempt)
	case events.ProgressMade:
		return name(e.Activation, e.Attempt)
	case events.ProgressRefused:
		return name(e.Activation, e.Attempt) + ": signals came that the code had not seen"
	case events.ActivationFailed:
		return oneLine(name(e.Activation, e.Attempt) + ": " + e.Failure.Error())
	case events.ActivationTimedOut:
		return name(e.Activation, e.Attempt)
	default:
		return ""
	}
}

func taskSummary(e events.Event) string {
	switch e := e.(type) {
	case events.TaskScheduled:
		return phrase(step(e.Step), string(e.Name), value(e.Input), on(e.Queue))
	case events.TaskAttemptFailed:
		return phrase(step(e.Step), string(e.Name), attempt(max(e.Attempt, 1)), e.Failure.Error()+"; next attempt", moment(e.NotBefore))
	case events.TaskCompleted:
		return phrase(step(e.Step), attempt(e.Attempt), value(e.Result))
	case events.TaskFailed:
		return phrase(step(e.Step), attempt(e.Attempt), e.Failure.Error())
	case events.TaskCancelled:
		return phrase(step(e.Step), attempt(e.Attempt))
	case events.HeartbeatRecorded:
		return phrase(step(e.Step), attempt(e.Attempt), value(e.Details))
	default:
		return ""
	}
}

// phrase joins the parts that say something.
func phrase(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return oneLine(strings.Join(said, " "))
}

func step(n events.Step) string { return "step " + strconv.FormatUint(uint64(n), 10) }

// attempt names all attempts but the first, which goes without saying.
func attempt(n events.Attempt) string {
	if n <= 1 {
		return ""
	}
	return "attempt " + strconv.FormatUint(uint64(n), 10)
}

func on(queue events.TaskQueue) string {
	if queue == "" || queue == events.DefaultTaskQueue {
		return ""
	}
	return "on queue " + string(queue)
}

func unread(signals uint64) string {
	if signals == 0 {
		return ""
	}
	return fmt.Sprintf("(%d signals were not read)", signals)
}

// value shows a payload: the beginning of JSON, other encodings by name and size.
func value(p events.Payload) string {
	switch {
	case p.IsZero():
		return ""
	case p.Encoding != events.EncodingJSON || p.Blob != "":
		return fmt.Sprintf("(%d bytes, encoding %q)", p.Size(), p.Encoding)
	}
	text := oneLine(string(p.Data))
	if short := []rune(text); len(short) > maxValue {
		return string(short[:maxValue-1]) + "…"
	}
	return text
}

// oneLine makes sure that a text of somebody else's stays on its line and moves no cursor.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, text)
}
