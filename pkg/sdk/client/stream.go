package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
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
	reconnectFirst = 50 * time.Millisecond
	reconnectMost  = 2 * time.Second
	// steadyTime is how long a connection lasts that the next loss of one is not blamed on.
	steadyTime = time.Second
)

// calls multiplexes many open calls over one stream and carries them over reconnects: what has no response yet is sent
// again, which is safe because every call is repeatable.
type calls struct {
	service apiv1.ClientServiceClient
	shut    func() bool // the connection was closed
	hello   *apiv1.ClientHello
	wake    chan struct{} // has a value when there may be something to send
	room    chan struct{} // a token for each open call, bounds them

	mu      sync.Mutex
	nextID  uint64
	open    map[uint64]*call
	queue   []*call  // to be sent on the present stream, in the order they were made
	given   []uint64 // abandoned calls that the present stream has
	sent    int      // calls that are open on the present stream
	limit   int      // of sent, as the server told it
	online  bool     // there is a stream; while there is none nothing is queued, as the next one takes all that is open
	lastErr error    // why the server could not be reached, nil while connected
	closed  error    // set once: no more calls
}

type call struct {
	message *apiv1.ClientCall
	done    chan *apiv1.ClientResponse // buffered, receives once
	sent    bool                       // on the present stream
}

func newCalls(service apiv1.ClientServiceClient, shut func() bool, hello *apiv1.ClientHello, maxOpen int) *calls {
	return &calls{
		service: service, shut: shut, hello: hello,
		wake: make(chan struct{}, 1), room: make(chan struct{}, maxOpen), open: map[uint64]*call{},
	}
}

// maxCallBytes bounds one call, so that it fits into a message of its own.
const maxCallBytes = wire.MaxMessageBytes - 16<<10

// do sends a call and waits for its response or for ctx. The message's Call number is filled in.
func (c *calls) do(ctx context.Context, message *apiv1.ClientCall) (*apiv1.ClientResponse, error) {
	// On the wire it would break the stream, and with it all other calls.
	if size := proto.Size(message); size > maxCallBytes {
		return nil, &events.Error{Code: events.PayloadTooLarge, Message: fmt.Sprintf(
			"the request has %d bytes; the limit is %d: keep large data elsewhere and pass a reference", size, maxCallBytes)}
	}
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return nil, c.whyNot(ctx.Err())
	}
	defer func() { <-c.room }()
	id, pending, err := c.begin(message)
	if err != nil {
		return nil, err
	}
	select {
	case response, ok := <-pending.done:
		if !ok {
			return nil, c.whyClosed()
		}
		return response, nil
	case <-ctx.Done():
	}
	c.abandon(id, pending)
	select {
	case response, ok := <-pending.done: // it came at the same moment
		if ok {
			return response, nil
		}
	default:
	}
	return nil, c.whyNot(ctx.Err())
}

// begin opens a call.
func (c *calls) begin(message *apiv1.ClientCall) (uint64, *call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return 0, nil, c.closed
	}
	c.nextID++
	message.Call = c.nextID
	pending := &call{message: message, done: make(chan *apiv1.ClientResponse, 1)}
	c.open[c.nextID] = pending
	if c.online {
		c.queue = append(c.queue, pending)
		c.signal()
	}
	return c.nextID, pending, nil
}

// abandon forgets an open call; the server is told if it has it.
func (c *calls) abandon(id uint64, pending *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[id]; !ok {
		return
	}
	delete(c.open, id)
	if c.online && pending.sent {
		c.sent--
		c.given = append(c.given, id)
		c.signal()
	}
}

func (c *calls) whyClosed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
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
	delay, known := reconnectFirst, false
	for {
		began := time.Now() //nolint:forbidigo // the SDK runs in users' processes, on the wall clock
		welcomed, err := c.stream(ctx)
		c.lost(err)
		if ctx.Err() != nil || c.shut() {
			c.close(errClosed)
			return
		}
		known = known || welcomed
		if refused := permanent(err, known); refused != nil && !welcomed {
			c.close(refused)
			return
		}
		if welcomed && time.Since(began) >= steadyTime { //nolint:forbidigo // as above
			delay = reconnectFirst
		}
		if !sleep(ctx, delay/2+mathrand.N(delay/2+1)) { // many clients must not come back at the same moment
			continue
		}
		delay = min(2*delay, reconnectMost)
	}
}

var errClosed = &events.Error{Code: events.Unavailable, Message: "the client is closed"}

// lost notes that there is no stream, and why.
func (c *calls) lost(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the stream")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online, c.lastErr = false, err
	c.queue, c.given, c.sent = nil, nil, 0
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
	if first.GetWelcome() == nil {
		return false, status.Error(codes.Internal, "the server did not begin with a welcome")
	}
	c.welcomed(first.GetWelcome())
	received := make(chan error, 1)
	go func() {
		received <- c.receive(stream)
		cancel()
	}()
	c.send(ctx, stream)
	cancel()
	return true, <-received
}

// welcomed queues every open call, in the order they were made.
func (c *calls) welcomed(welcome *apiv1.ClientWelcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online, c.lastErr, c.sent = true, nil, 0
	c.limit = int(welcome.GetMaxOpenCalls())
	c.queue = slices.SortedFunc(maps.Values(c.open), func(a, b *call) int { return cmp.Compare(a.message.GetCall(), b.message.GetCall()) })
	for _, pending := range c.queue {
		pending.sent = false
	}
	c.signal()
}

// send writes queued calls in batches until the stream fails or ctx ends; the receiver learns why.
func (c *calls) send(ctx context.Context, stream grpc.BidiStreamingClient[apiv1.ConnectRequest, apiv1.ConnectResponse]) {
	for {
		for batch := c.next(); len(batch) > 0; batch = c.next() {
			if stream.Send(&apiv1.ConnectRequest{Calls: batch}) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			runtime.Gosched() // whoever is about to call makes it into the same batch
		}
	}
}

// next takes the calls of one batch from the queue, as many as the server has room for. Abandoned ones that were not sent
// are left out; of those that were, the server is told first, so that they are not counted any more.
func (c *calls) next() []*apiv1.ClientCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []*apiv1.ClientCall
	for _, id := range c.given {
		batch = append(batch, &apiv1.ClientCall{Call: id, Request: &apiv1.ClientCall_Abandon{Abandon: &apiv1.Abandon{}}})
	}
	c.given = nil
	for bytes := 0; len(c.queue) > 0 && len(batch) < batchCalls && (c.limit <= 0 || c.sent < c.limit); c.queue = c.queue[1:] {
		pending := c.queue[0]
		if _, wanted := c.open[pending.message.GetCall()]; !wanted {
			continue
		}
		size := proto.Size(pending.message)
		if len(batch) > 0 && bytes+size > batchBytes {
			break
		}
		bytes += size
		pending.sent = true
		c.sent++
		batch = append(batch, pending.message)
	}
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
				if pending.sent {
					c.sent--
				}
				pending.done <- response
			}
		}
		c.mu.Unlock()
		c.signal() // there may be room for those that wait
	}
}

// permanent returns the refusal that no retry can cure, nil for everything else. A server that has known the client's token
// before may be ahead of the client in its replacement.
func permanent(err error, known bool) error {
	if err == nil {
		return nil
	}
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
	default:
		return nil
	}
	refusal := wire.FromStatus(err)
	if refusal.Code == events.Unavailable || refusal.Code == events.Overloaded || refusal.Code == events.Unauthenticated && known {
		return nil
	}
	return refusal
}
