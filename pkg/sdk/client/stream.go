package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of one batch on the stream.
const (
	batchCalls = 256
	batchBytes = 1 << 20
)

// Back-off between attempts to reach the server.
const (
	reconnectMin = 50 * time.Millisecond
	reconnectMax = 2 * time.Second
)

// calls multiplexes many open calls over one stream and carries them over reconnects: what has no response yet is sent
// again, which is safe because every call is repeatable.
type calls struct {
	service  apiv1.ClientServiceClient
	hello    *apiv1.ClientHello
	maxOpen  int
	wake     chan struct{} // has a value when queue may have calls
	room     chan struct{} // a token for each open call, bounds them
	mu       sync.Mutex
	nextID   uint64
	open     map[uint64]*call
	queue    []*apiv1.ClientCall
	lastErr  error // why the server could not be reached, nil while connected
	closed   error // set once: no more calls
	maxBytes int64 // payload limit as the server told it, 0 before
}

type call struct {
	message *apiv1.ClientCall
	done    chan *apiv1.ClientResponse // buffered, receives once
}

func newCalls(service apiv1.ClientServiceClient, hello *apiv1.ClientHello, maxOpen int) *calls {
	return &calls{
		service: service, hello: hello, maxOpen: maxOpen,
		wake: make(chan struct{}, 1), room: make(chan struct{}, maxOpen), open: map[uint64]*call{},
	}
}

// do sends a call and waits for its response or for ctx. The message's Call number is filled in.
func (c *calls) do(ctx context.Context, message *apiv1.ClientCall) (*apiv1.ClientResponse, error) {
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return nil, c.whyNot(ctx.Err())
	}
	defer func() { <-c.room }()
	pending := &call{message: message, done: make(chan *apiv1.ClientResponse, 1)}
	c.mu.Lock()
	if c.closed != nil {
		err := c.closed
		c.mu.Unlock()
		return nil, err
	}
	c.nextID++
	id := c.nextID
	message.Call = id
	c.open[id] = pending
	c.queue = append(c.queue, message)
	c.mu.Unlock()
	c.signal()
	select {
	case response, ok := <-pending.done:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, c.closed
		}
		return response, nil
	case <-ctx.Done():
		c.mu.Lock()
		if _, ok := c.open[id]; ok {
			delete(c.open, id)
			c.queue = append(c.queue, &apiv1.ClientCall{Call: id, Request: &apiv1.ClientCall_Abandon{Abandon: &apiv1.Abandon{}}})
		}
		c.mu.Unlock()
		c.signal()
		return nil, c.whyNot(ctx.Err())
	}
}

// whyNot adds to a context's error why the server did not answer, as far as it is known.
func (c *calls) whyNot(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastErr != nil {
		return fmt.Errorf("%w: no connection to the server: %w", err, c.lastErr)
	}
	return fmt.Errorf("%w while waiting for the server's answer", err)
}

func (c *calls) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run keeps a stream until ctx ends or the server refuses this client for good.
func (c *calls) run(ctx context.Context) {
	delay := reconnectMin
	for {
		welcomed, err := c.stream(ctx)
		if ctx.Err() != nil {
			c.close(&events.Error{Code: events.Unavailable, Message: "the client is closed"})
			return
		}
		if refused := permanent(err); refused != nil {
			c.close(refused)
			return
		}
		if welcomed {
			delay = reconnectMin
		}
		c.mu.Lock()
		c.lastErr = err
		c.mu.Unlock()
		if !sleep(ctx, delay) {
			continue
		}
		delay = min(2*delay, reconnectMax)
	}
}

// close fails every open call and all later ones with err.
func (c *calls) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return
	}
	c.closed = err
	for id, pending := range c.open {
		delete(c.open, id)
		close(pending.done)
	}
	c.queue = nil
}

// stream runs one stream to its end. welcomed tells whether the server accepted it.
func (c *calls) stream(ctx context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.service.Connect(ctx)
	if err != nil {
		return false, err
	}
	if err := stream.Send(&apiv1.ConnectRequest{Hello: c.hello}); err != nil {
		_, err = stream.Recv() // the server's reason, Send only says EOF
		return false, err
	}
	first, err := stream.Recv()
	if err != nil {
		return false, err
	}
	c.begin(first.GetWelcome())
	received := make(chan error, 1)
	go func() { received <- c.receive(stream) }()
	sent := c.send(ctx, stream, received)
	cancel()
	if sent == nil {
		sent = <-received
	}
	return true, sent
}

// begin makes every open call wait for sending again, in the order they were made.
func (c *calls) begin(welcome *apiv1.ClientWelcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastErr = nil
	c.maxBytes = welcome.GetMaxPayloadBytes()
	c.queue = c.queue[:0]
	for id := range c.open {
		c.queue = append(c.queue, c.open[id].message)
	}
	sortCalls(c.queue)
	c.signal()
}

// send writes queued calls in batches until the stream fails or the receiver ends. It returns nil when the receiver knows
// the reason.
func (c *calls) send(ctx context.Context, stream grpc.BidiStreamingClient[apiv1.ConnectRequest, apiv1.ConnectResponse], received chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-received:
			received <- err
			return nil
		case <-c.wake:
		}
		for {
			batch := c.next()
			if len(batch) == 0 {
				break
			}
			if err := stream.Send(&apiv1.ConnectRequest{Calls: batch}); err != nil {
				return nil
			}
		}
	}
}

// next takes the calls of one batch from the queue; abandoned ones are left out before they were ever sent.
func (c *calls) next() []*apiv1.ClientCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, n := 0, 0
	for n < len(c.queue) && n < batchCalls && (n == 0 || size < batchBytes) {
		size += proto.Size(c.queue[n])
		n++
	}
	batch := append([]*apiv1.ClientCall(nil), c.queue[:n]...)
	c.queue = append(c.queue[:0], c.queue[n:]...)
	return batch
}

func (c *calls) receive(stream grpc.BidiStreamingClient[apiv1.ConnectRequest, apiv1.ConnectResponse]) error {
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		c.mu.Lock()
		for _, response := range batch.GetResponses() {
			if pending, ok := c.open[response.GetCall()]; ok {
				delete(c.open, response.GetCall())
				pending.done <- response
			}
		}
		c.mu.Unlock()
	}
}

// permanent returns the refusal that no retry can cure, nil for everything else.
func permanent(err error) error {
	if err == nil {
		return nil
	}
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
	default:
		return nil
	}
	refusal := wire.FromStatus(err)
	if refusal.Code == events.Unavailable || refusal.Code == events.Overloaded {
		return nil
	}
	return refusal
}
