package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// machineTime is how long each of the machine's rates is measured at most.
const machineTime = time.Second

// measureMachine measures for d what the machine can do by itself, in dir, with so many that wait for an append.
func measureMachine(ctx context.Context, dir string, waiters int, d time.Duration, r *Result) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var err error
	if r.SyncP50Ms, err = rawSyncs(filepath.Join(dir, "syncs"), d/2); err != nil {
		return err
	}
	if r.RawAppends, err = rawAppends(ctx, filepath.Join(dir, "store"), waiters, d); err != nil {
		return err
	}
	if r.RawMessages, err = rawMessages(ctx, d/2); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// rawSyncs returns the median of an append of 4 KiB and its fdatasync, in milliseconds.
func rawSyncs(path string, d time.Duration) (p50 float64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var (
		samples []time.Duration
		page    = make([]byte, 4<<10)
	)
	for begun := now(); since(begun) < d || len(samples) == 0; {
		began := now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync: %w", err)
		}
		samples = append(samples, since(began))
	}
	p50, _, _ = percentiles(samples)
	return p50, nil
}

// rawAppends returns how many commands a second are answered with a synced record when so many wait for theirs: the
// store's journal without an engine.
func rawAppends(ctx context.Context, dir string, waiters int, d time.Duration) (perSecond float64, err error) {
	store, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		return 0, err
	}
	log := store.Journal()
	ctx, stop := context.WithCancel(ctx)
	var owners, senders sync.WaitGroup
	defer func() {
		stop()
		owners.Wait()
		err = errors.Join(err, store.Close())
	}()
	failed := make(chan error, waiters+log.Partitions())
	for p := range log.Partitions() {
		owner, err := log.Acquire(ctx, events.Partition(p))
		if err != nil {
			return 0, err
		}
		owners.Go(func() {
			if err := answer(ctx, owner, events.Partition(p)); err != nil {
				failed <- err
				stop()
			}
		})
	}
	var appended atomic.Int64
	began := now()
	for w := range waiters {
		senders.Go(func() {
			done := make(chan error, 1)
			for n := 0; since(began) < d && ctx.Err() == nil; n++ {
				command := events.Envelope{
					Namespace: events.DefaultNamespace, WorkflowID: events.WorkflowID(fmt.Sprintf("%d-%d", w, n)), Command: events.SignalWorkflow{Name: "s"},
				}
				if err := log.Send(command, func(err error) { done <- err }); err != nil {
					failed <- err
					return
				}
				if err := <-done; err != nil {
					failed <- err
					return
				}
				appended.Add(1)
			}
		})
	}
	senders.Wait()
	took := since(began)
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return float64(appended.Load()) / took.Seconds(), ctx.Err()
}

// answer writes one record of a signal with 100 bytes for every command, until ctx ends.
func answer(ctx context.Context, o journal.Owner, p events.Partition) error {
	defer o.Release()
	var (
		next  = o.Last()
		input = events.Payload{Encoding: "json", Data: []byte(`"` + text + `"`)}
	)
	for o.Wait(ctx) == nil {
		taken := o.Take(256)
		records := make([]*events.Record, len(taken))
		for i := range taken {
			next++
			records[i] = &events.Record{
				Header: events.Header{
					Partition: p, Epoch: o.Epoch(), Owner: o.ID(), Seq: next, Confirmed: next - 1, Time: 1, Schema: events.Schema,
					Namespace: taken[i].Namespace, WorkflowID: taken[i].WorkflowID, RunID: events.MakeRunID(int64(next), [10]byte{1}), First: 1,
				},
				Events:  []events.Event{events.SignalReceived{Name: "s", Index: 1, Input: input}},
				Answers: []events.Answer{{Code: events.OK, N: uint64(next)}},
			}
		}
		if err := o.Commit(context.WithoutCancel(ctx), journal.Step{Records: records, Consumed: len(taken)}); err != nil {
			return err
		}
	}
	return nil
}

// window is how many messages are under way on the stream that is measured.
const window = 64

// rawMessages returns how many messages a second of one gRPC stream are sent over loopback and answered, both ends in
// this process.
func rawMessages(ctx context.Context, d time.Duration) (perSecond float64, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	server := grpc.NewServer()
	apiv1.RegisterClientServiceServer(server, mirror{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		err = errors.Join(err, <-served)
	}()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewClientServiceClient(conn).Connect(ctx)
	if err != nil {
		return 0, err
	}
	message := &apiv1.ConnectRequest{Calls: []*apiv1.ClientCall{{Call: 1, Request: &apiv1.ClientCall_Signal{Signal: &apiv1.SignalWorkflowRequest{
		WorkflowId: "0190f0c4-5e6a-7c3e-9d55-0242ac120002", Name: "s", Input: &apiv1.Payload{Encoding: "json", Data: []byte(text)},
	}}}}}
	free := make(chan struct{}, window)
	for range window {
		free <- struct{}{}
	}
	began := now()
	sent := make(chan error, 1)
	go func() {
		for since(began) < d {
			select {
			case <-free:
			case <-ctx.Done():
				sent <- ctx.Err()
				return
			}
			if err := stream.Send(message); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	messages := 0
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		messages++
		free <- struct{}{}
	}
	if err := <-sent; err != nil {
		return 0, err
	}
	return float64(messages) / since(began).Seconds(), nil
}

// mirror answers every message of a stream with one.
type mirror struct {
	apiv1.UnimplementedClientServiceServer
}

// Connect answers every message with one.
func (mirror) Connect(stream grpc.BidiStreamingServer[apiv1.ConnectRequest, apiv1.ConnectResponse]) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		response := &apiv1.ConnectResponse{Responses: []*apiv1.ClientResponse{{
			Call: request.GetCalls()[0].GetCall(), Response: &apiv1.ClientResponse_Signal{Signal: &apiv1.SignalWorkflowResponse{RunId: request.GetCalls()[0].GetSignal().GetWorkflowId()}},
		}}}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}
