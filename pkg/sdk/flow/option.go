package flow

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// TaskOption is a limit or setting of a task.
type TaskOption interface{ applyTask(*taskOptions) }

// StepOption is a limit or setting of a [Step].
type StepOption interface{ applyStep(*stepOptions) }

// StartOption is a setting of a new run.
type StartOption interface{ applyStart(*startOptions) }

// SendOption is a setting of a signal that is sent.
type SendOption interface{ applySend(*sendOptions) }

// ServiceOption is a setting of a bound [Service].
type ServiceOption interface{ applyService(*serviceOptions) }

type taskOptions struct {
	events.TaskOptions
	queue events.TaskQueue
	name  string
}

type stepOptions struct {
	retry   events.RetryPolicy
	timeout time.Duration
}

type startOptions struct {
	id         string
	queue      events.TaskQueue
	policy     events.IDPolicy
	runTimeout time.Duration
	request    events.RequestID
}

type sendOptions struct {
	request events.RequestID
	run     events.RunID
}

type serviceOptions struct{ name string }

// RetryPolicy says when a failed task or step is tried again. The zero value means the defaults: after 1 s, doubling up to
// 100 s, without end.
type RetryPolicy = events.RetryPolicy

// RetryOption is the option made by [Retry].
type RetryOption struct{ policy RetryPolicy }

// Retry sets when failed attempts are followed by others. Without it they always are, with the default delays.
func Retry(p RetryPolicy) RetryOption { return RetryOption{p} }

func (o RetryOption) applyTask(t *taskOptions) { t.Retry = o.policy }
func (o RetryOption) applyStep(s *stepOptions) { s.retry = o.policy }

// TimeoutOption is the option made by [Timeout].
type TimeoutOption struct{ d time.Duration }

// Timeout bounds one attempt of a task or step, from the moment a worker has it. Default: 5 minutes for a task, none for a
// step.
func Timeout(d time.Duration) TimeoutOption { return TimeoutOption{d} }

func (o TimeoutOption) applyTask(t *taskOptions) { t.StartToClose = o.d }
func (o TimeoutOption) applyStep(s *stepOptions) { s.timeout = o.d }

type taskOptionFunc func(*taskOptions)

func (f taskOptionFunc) applyTask(t *taskOptions) { f(t) }

// HeartbeatTimeout bounds the time between two heartbeats of an attempt. Default: none are expected.
func HeartbeatTimeout(d time.Duration) TaskOption {
	return taskOptionFunc(func(t *taskOptions) { t.Heartbeat = d })
}

// ScheduleToStart bounds how long each attempt waits for a worker. Default: no bound.
func ScheduleToStart(d time.Duration) TaskOption {
	return taskOptionFunc(func(t *taskOptions) { t.ScheduleToStart = d })
}

// ScheduleToClose bounds a task from its call to its end, all attempts included. Default: no bound.
func ScheduleToClose(d time.Duration) TaskOption {
	return taskOptionFunc(func(t *taskOptions) { t.ScheduleToClose = d })
}

// QueueOption is the option made by [Queue].
type QueueOption string

// Queue names the task queue whose workers run the task, or the run's code. Default: a task uses the queue of its run, a run
// the queue "default".
func Queue(name string) QueueOption { return QueueOption(name) }

func (q QueueOption) applyTask(t *taskOptions)   { t.queue = events.TaskQueue(q) }
func (q QueueOption) applyStart(s *startOptions) { s.queue = events.TaskQueue(q) }

// NameOption is the option made by [Name].
type NameOption string

// Name sets a durable name in place of the one made from Go's names: the whole name of a method ("payments.Request"), or, for
// a [Service], what stands before the method's name ("payments").
func Name(name string) NameOption { return NameOption(name) }

func (n NameOption) applyTask(t *taskOptions)       { t.name = string(n) }
func (n NameOption) applyService(s *serviceOptions) { s.name = string(n) }

type startOptionFunc func(*startOptions)

func (f startOptionFunc) applyStart(s *startOptions) { f(s) }

// ID sets the workflow id of a new run: your own key of the process, such as "billing/customer-17". At most one run is open
// per id. Default: the run id's text.
func ID(id string) StartOption { return startOptionFunc(func(s *startOptions) { s.id = id }) }

// RunTimeout bounds a run from start to end, continuations included. Default: no bound.
func RunTimeout(d time.Duration) StartOption {
	return startOptionFunc(func(s *startOptions) { s.runTimeout = d })
}

// IDPolicy is the option that says what a start does when its workflow id is taken.
type IDPolicy events.IDPolicy

// The policies of a start whose workflow id is taken.
const (
	// RejectOpen refuses the start while a run is open and allows it after the end: the default.
	RejectOpen = IDPolicy(events.IDRejectOpen)
	// TerminateOpen terminates the open run and starts a new one.
	TerminateOpen = IDPolicy(events.IDTerminateOpen)
	// AttachOpen starts nothing and returns the open run; it starts a run if none is open.
	AttachOpen = IDPolicy(events.IDAttachOpen)
	// RejectAny refuses the start while any run of the id is known.
	RejectAny = IDPolicy(events.IDRejectAny)
)

func (p IDPolicy) applyStart(s *startOptions) { s.policy = events.IDPolicy(p) }

// RequestIDOption is the option made by [RequestID].
type RequestIDOption string

// RequestID makes a request repeatable: the same id gets the same answer, and what it asks for happens once.
func RequestID(id string) RequestIDOption { return RequestIDOption(id) }

func (id RequestIDOption) applyStart(s *startOptions) { s.request = events.RequestID(id) }
func (id RequestIDOption) applySend(s *sendOptions)   { s.request = events.RequestID(id) }

// check reports what is wrong with the options of a task.
func (t *taskOptions) check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Timeout", t.StartToClose},
		{"HeartbeatTimeout", t.Heartbeat},
		{"ScheduleToStart", t.ScheduleToStart},
		{"ScheduleToClose", t.ScheduleToClose},
	} {
		if d.value < 0 {
			return fmt.Errorf("flow.%s(%v) is negative; leave the option out for the default", d.name, d.value)
		}
	}
	if t.queue != "" {
		if err := t.queue.Validate(); err != nil {
			return err
		}
	}
	return checkRetry(t.Retry)
}

func checkRetry(p RetryPolicy) error {
	switch {
	case p.Factor != 0 && p.Factor < 1:
		return fmt.Errorf("flow.Retry: Factor %v is below 1, so delays would shrink; 0 means 2", p.Factor)
	case p.Initial < 0 || p.Max < 0:
		return fmt.Errorf("flow.Retry: Initial %v and Max %v must not be negative; 0 means the default", p.Initial, p.Max)
	}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("flow.Retry: %w", err)
	}
	return nil
}
