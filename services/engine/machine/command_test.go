package machine_test

import (
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// command reads one line: a verb and key=value words, in the order that matters for progress.
//
//	start type=T queue=Q timeout=1h policy=terminate     signal stop payload     cancel     terminate     get
//	complete 1 [attempt]        fail 1 [attempt] [after=5s] [code=x] [final]      timeout 1 attempt code
//	heartbeat 1 attempt text    fire sleep|retry|start|close|run step [attempt]   release
//	progress [act=n attempt=n upto=n] word…      fail-activation build            timeout-activation
func (s *script) command(line string) events.Command {
	words := strings.Fields(line)
	verb, args := words[0], words[1:]
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	num := func(i int) uint64 {
		if arg(i) == "" || strings.Contains(arg(i), "=") {
			return 1
		}
		return s.number(arg(i))
	}
	text := func(i int) events.Payload {
		if arg(i) == "" {
			return events.Payload{}
		}
		return events.Payload{Encoding: "json", Data: []byte(arg(i))}
	}
	step, attempt := func() events.Step { return events.Step(num(0)) }, func() events.Attempt { return events.Attempt(num(1)) }
	switch verb {
	case "start":
		return s.start(args)
	case "signal":
		return events.SignalWorkflow{Name: events.SignalName(arg(0)), Input: text(1)}
	case "big-signal":
		return events.SignalWorkflow{Name: events.SignalName(arg(0)), Input: events.Payload{Data: make([]byte, num(1))}}
	case "cancel":
		return events.CancelWorkflow{Reason: arg(0)}
	case "terminate":
		return events.TerminateWorkflow{Reason: arg(0)}
	case "get":
		return events.GetRun{}
	case "release":
		return events.ReleaseRun{}
	case "complete":
		return events.CompleteTask{Step: step(), Attempt: attempt()}
	case "fail":
		return s.fail(events.FailTask{Step: step(), Attempt: attempt(), RetryAfter: -1}, args)
	case "timeout":
		return events.TimeoutTask{Step: step(), Attempt: attempt(), Code: arg(2), Details: text(3)}
	case "heartbeat":
		return events.RecordHeartbeat{Step: step(), Attempt: attempt(), Details: text(2)}
	case "fire":
		kind := map[string]events.TimerKind{
			"sleep": events.TimerSleep, "retry": events.TimerStepRetry, "start": events.TimerScheduleToStart,
			"close": events.TimerScheduleToClose, "run": events.TimerRunTimeout,
		}[arg(0)]
		id := events.TimerID{Kind: kind}
		if arg(1) != "" {
			id.Step = events.Step(num(1))
		}
		if arg(2) != "" {
			id.Attempt = events.Attempt(num(2))
		}
		return events.FireTimer{Timer: id}
	case "fail-activation":
		return events.FailActivation{
			Activation: s.last.Activation, Attempt: s.last.Attempt, Build: events.BuildID(arg(0)),
			Failure: events.Failure{Code: events.CodeWorkflowPanicked},
		}
	case "timeout-activation":
		return events.TimeoutActivation{Activation: s.last.Activation, Attempt: s.last.Attempt}
	case "progress":
		return s.progress(args)
	}
	s.t.Fatalf("unknown command %q", line)
	return nil
}

func (s *script) start(args []string) events.Command {
	c := events.StartWorkflow{Type: "billing.Monthly"}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "type":
			c.Type = events.WorkflowType(value)
		case "queue":
			c.Queue = events.TaskQueue(value)
		case "timeout":
			c.RunTimeout = s.duration(value)
		case "policy":
			c.IDPolicy = map[string]events.IDPolicy{
				"terminate": events.IDTerminateOpen, "attach": events.IDAttachOpen, "reject-any": events.IDRejectAny,
			}[value]
		}
	}
	return c
}

func (s *script) fail(c events.FailTask, args []string) events.Command {
	c.Failure.Code = events.CodeTaskFailed
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "after":
			c.RetryAfter = s.duration(value)
		case "code":
			c.Failure.Code = value
		case "final":
			c.Failure.NonRetryable = true
		}
	}
	return c
}

// progress reads the words of a progress. Groups of a wait set are separated by |, their parts by commas; a part is a
// step or name#index.
//
//	task=1:charge[:max=1,start=5s,close=1m,stop=code]  cancel-task=1  timer=2:+5s  cancel-timer=2  step=3  backoff=4:+20s
//	view=state  read=stop:1  wait=1,2|stop#1  now  complete  fail-run  cancel-run  continue
func (s *script) progress(args []string) events.Command {
	p := events.ReportProgress{Activation: s.last.Activation, Attempt: s.last.Attempt, Upto: s.last.Upto, At: s.at}
	add := func(i events.Intent) { p.Intents = append(p.Intents, i) }
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		first, rest, _ := strings.Cut(value, ":")
		step := func() events.Step { return events.Step(s.number(first)) }
		switch key {
		case "act":
			p.Activation = s.number(value)
		case "attempt":
			p.Attempt = events.Attempt(s.number(value))
		case "upto":
			p.Upto = events.EventNumber(s.number(value))
		case "shown":
			p.At = begin.Add(s.duration(value))
		case "task":
			add(s.task(step(), rest))
		case "cancel-task":
			add(events.CancelTask{Step: step()})
		case "timer":
			add(events.StartTimer{Step: step(), Due: s.at.Add(s.duration(rest))})
		case "cancel-timer":
			add(events.CancelTimer{Step: step()})
		case "step":
			add(events.RecordStep{Step: step(), Attempts: 1})
		case "backoff":
			add(events.BackOffStep{Step: step(), Attempt: 1, Until: s.at.Add(s.duration(rest))})
		case "view":
			add(events.SetView{Name: events.ViewName(value)})
		case "read":
			p.Reads = append(p.Reads, events.SignalRead{Name: events.SignalName(first), Count: s.number(rest)})
		case "now":
			p.Wait.Now = true
		case "wait":
			for group := range strings.SplitSeq(value, "|") {
				p.Wait.Any = append(p.Wait.Any, s.group(group))
			}
		case "complete":
			add(events.CompleteRun{})
		case "fail-run":
			add(events.FailRun{Failure: events.Failure{Code: events.CodeWorkflowFailed}})
		case "cancel-run":
			add(events.CancelRun{Failure: events.Failure{Code: events.CodeCancelled}})
		case "continue":
			add(events.ContinueRun{})
		default:
			s.t.Fatalf("unknown word %q", a)
		}
	}
	return p
}

func (s *script) group(text string) events.WaitGroup {
	var g events.WaitGroup
	for part := range strings.SplitSeq(text, ",") {
		if name, index, ok := strings.Cut(part, "#"); ok {
			g.Signals = append(g.Signals, events.SignalWait{Name: events.SignalName(name), Index: s.number(index)})
		} else {
			g.Steps = append(g.Steps, events.Step(s.number(part)))
		}
	}
	return g
}

func (s *script) task(step events.Step, text string) events.Intent {
	name, options, _ := strings.Cut(text, ":")
	c := events.ScheduleTask{Step: step, Name: events.TaskName(name)}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "max":
			c.Options.Retry.MaxAttempts = uint32(s.number(value))
		case "factor":
			c.Options.Retry.Factor = 0.5
		case "stop":
			c.Options.Retry.NonRetryable = []string{value}
		case "start":
			c.Options.ScheduleToStart = s.duration(value)
		case "close":
			c.Options.ScheduleToClose = s.duration(value)
		case "heartbeat":
			c.Options.Heartbeat = s.duration(value)
		case "queue":
			c.Queue = events.TaskQueue(value)
		}
	}
	return c
}
