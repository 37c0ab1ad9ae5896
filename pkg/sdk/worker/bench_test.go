package worker

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
)

var (
	benchTask  = flow.NewTask[string, string]("bench.Echo")
	benchSteps = flow.NewWorkflow[string, string]("bench.Steps")
	benchTasks = flow.NewWorkflow[string, string]("bench.Tasks")
)

// BenchmarkSteps is what a worker does for one step of a workflow of ten, 64 of them in flight, without the connection. It
// includes what the scripted server does: to decode the progress and to encode the next activation.
func BenchmarkSteps(b *testing.B) { benchmark(b, benchSteps.Name()) }

// BenchmarkTasks is that for workflows that call ten tasks, which the same worker executes.
func BenchmarkTasks(b *testing.B) { benchmark(b, benchTasks.Name()) }

// benchInFlight is how many workflows are open at a time.
const benchInFlight = 64

func benchmark(b *testing.B, workflow string) {
	c, err := client.Dial("127.0.0.1:1", client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	w, err := New(c, Options{Tasks: 256, Activations: 256, Log: slog.New(slog.DiscardHandler)},
		benchTask.With(func(_ context.Context, in string) (string, error) { return in, nil }),
		benchSteps.With(func(ctx flow.Context, in string) (string, error) {
			for range 10 {
				if _, err := flow.Step(ctx, "s", func(context.Context) (string, error) { return in, nil }); err != nil {
					return "", err
				}
			}
			return in, nil
		}),
		benchTasks.With(func(ctx flow.Context, in string) (string, error) {
			for range 10 {
				if _, err := benchTask.Call(ctx, in); err != nil {
					return "", err
				}
			}
			return in, nil
		}))
	if err != nil {
		b.Fatal(err)
	}
	defer w.abandon()
	w.join()
	s := benchServer{b: b, w: w, workflow: workflow, runs: map[string]*benchRun{}}
	b.ReportAllocs()
	b.ResetTimer()
	began := processor(b)
	for range benchInFlight {
		s.start()
	}
	for s.done < b.N {
		<-w.outbox.wake
		for batch := w.outbox.next(); batch != nil; batch = w.outbox.next() {
			s.take(batch)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(processor(b)-began)/float64(b.N), "cpu-ns/op")
}

// processor is the processor time that this process has used.
func processor(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchServer plays the server for a worker: it accepts every progress and result.
type benchServer struct {
	b        *testing.B
	w        *Worker
	workflow string
	made     int64
	done     int // steps and tasks
	runs     map[string]*benchRun
}

type benchRun struct {
	id         events.RunID
	records    []*events.Record
	seq        events.Seq
	next       events.EventNumber
	activation uint64
	base       events.EventNumber
	upto       events.EventNumber // of the activation before
}

func (s *benchServer) start() {
	s.made++
	r := &benchRun{id: events.MakeRunID(s.made, [10]byte{1}), next: 1}
	s.runs[r.id.String()] = r
	input := events.Payload{Encoding: events.EncodingJSON, Data: []byte(`"` + strings.Repeat("x", 98) + `"`)}
	r.add(events.RunStarted{Type: events.WorkflowType(s.workflow), Queue: events.DefaultTaskQueue, Input: input})
	s.activate(r)
}

func (r *benchRun) add(evs ...events.Event) {
	r.seq++
	r.records = append(r.records, &events.Record{Header: events.Header{
		Schema: events.Schema, Epoch: 1, Owner: 1, Seq: r.seq, Time: 1e15, Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(r.id.String()),
		RunID: r.id, First: r.next,
	}, Events: evs})
	r.next += events.EventNumber(len(evs))
}

// activate adds an activation to the last record and delivers it with what is new to a live run.
func (s *benchServer) activate(r *benchRun) {
	upto := r.next - 1
	r.activation++
	last := r.records[len(r.records)-1]
	last.Events = append(last.Events, events.ActivationScheduled{
		Activation: r.activation, Attempt: 1, Base: r.base, ReplayFrom: 1, Upto: upto, Type: events.WorkflowType(s.workflow), Queue: events.DefaultTaskQueue,
	})
	r.next++
	from := 0
	for i, rec := range r.records {
		if rec.First <= r.upto+1 {
			from = i
		}
	}
	s.w.startActivation(&apiv1.ActivationDelivery{
		Activation:   &apiv1.ActivationRef{WorkflowId: r.id.String(), RunId: r.id.String(), Activation: r.activation, Attempt: 1},
		WorkflowType: s.workflow, At: wire.ToTime(1e15), Base: uint64(r.base), ReplayFrom: 1, Upto: uint64(upto), Full: r.base == 0,
		History: events.AppendFrame(nil, r.records[from:]...), Deadline: durationpb.New(10 * time.Second),
	})
	r.upto = upto
}

func (s *benchServer) take(batch *apiv1.WorkRequest) {
	ack := &apiv1.WorkResponse{}
	for _, result := range batch.GetTaskResults() {
		ack.AcknowledgedTasks = append(ack.AcknowledgedTasks, result.GetTask())
		r := s.runs[result.GetTask().GetRunId()]
		r.add(events.TaskCompleted{
			Step: events.Step(result.GetTask().GetStep()), Attempt: 1, Result: wire.CheckedPayload(result.GetResult()), Worker: s.w.id,
		})
		s.done++
		s.activate(r)
	}
	for _, result := range batch.GetActivationResults() {
		ack.AcknowledgedActivations = append(ack.AcknowledgedActivations, result.GetActivation())
		s.progress(s.runs[result.GetActivation().GetRunId()], result)
	}
	s.w.acknowledged(ack)
}

func (s *benchServer) progress(r *benchRun, result *apiv1.ActivationResult) {
	p, err := events.DecodeReportProgress(result.GetProgress())
	if err != nil || result.GetFailure() != nil {
		s.b.Fatal(err, result.GetFailure())
	}
	r.base = r.next
	evs := []events.Event{events.ProgressMade{
		Activation: p.Activation, Attempt: p.Attempt, At: p.At, Upto: p.Upto, Reads: p.Reads, Wait: p.Wait, Worker: p.Worker, Build: p.Build,
	}}
	var task *apiv1.TaskDelivery
	ended := false
	for _, i := range p.Intents {
		switch i := i.(type) {
		case events.RecordStep:
			evs = append(evs, events.StepRecorded(i))
			s.done++
		case events.ScheduleTask:
			evs = append(evs, events.TaskScheduled{Step: i.Step, Name: i.Name, Queue: i.Queue, Input: i.Input, Options: i.Options})
			task = &apiv1.TaskDelivery{
				Task: wire.ToTaskRef(wire.TaskRef{WorkflowID: events.WorkflowID(r.id.String()), Task: events.TaskID{Run: r.id, Step: i.Step}, Attempt: 1}),
				Name: string(i.Name), Input: wire.ToPayload(i.Input), StartToClose: durationpb.New(5 * time.Minute),
			}
		case events.CompleteRun:
			ended = true
		default:
			s.b.Fatalf("unexpected intent %T", i)
		}
	}
	switch {
	case ended:
		delete(s.runs, r.id.String())
		s.start()
	case task != nil:
		r.add(evs...)
		s.w.startTask(task)
	default:
		r.add(evs...)
		s.activate(r)
	}
}
