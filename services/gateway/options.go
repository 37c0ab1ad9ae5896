package gateway

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/continuo-dev/continuo/internal/door"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Options are the settings of a gateway. GRPC and HTTP are needed; zero values of the others mean the defaults named here.
type Options struct {
	// GRPC and HTTP are the listeners, made by the door or within the process. Run closes them.
	GRPC net.Listener
	HTTP net.Listener
	// Door says which listeners may be served, and has TLS and the tokens of both. With nil only loopback is served, in clear and
	// to everybody.
	Door *door.Door
	// Version and Build name the server for clients.
	Version string
	Build   string
	// Session is random by default; tests set it.
	Session events.SessionID
	// CommandsLogged is what the journal's features say: a command may be durable long before it is answered, so that a start
	// whose answer is late is accepted instead of unknown.
	CommandsLogged bool
	// MaxPayloadBytes bounds a payload; 2 MiB.
	MaxPayloadBytes int
	// MaxOpenCalls bounds the calls that wait in this gateway, MaxStreamCalls those of one client stream, MaxStreams the
	// streams of clients and workers; 20,000, 4,096 and 2,000.
	MaxOpenCalls   int
	MaxStreamCalls int
	MaxStreams     int
	// AnswerTimeout bounds the wait for the engine's answer to a command; 10 s.
	AnswerTimeout time.Duration
	// DrainTimeout bounds the end; 5 s.
	DrainTimeout time.Duration
	// Grace is how long a worker may take to come back after its stream broke; 5 s.
	Grace time.Duration
	// ActivationDeadline bounds the run of workflow code until it answers or says that a step takes long; 10 s.
	ActivationDeadline time.Duration
	// Reflection serves gRPC reflection; off.
	Reflection bool
}

func (o *Options) setDefaults() error {
	if o.GRPC == nil || o.HTTP == nil {
		return errors.New("gateway: a listener is missing")
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&o.MaxPayloadBytes, wire.MaxPayloadBytes}, {&o.MaxOpenCalls, 20_000}, {&o.MaxStreamCalls, 4096}, {&o.MaxStreams, 2000},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
		if *d.field < 0 {
			return fmt.Errorf("gateway: a limit is negative: %d", *d.field)
		}
	}
	if o.MaxPayloadBytes > wire.MaxMessageBytes*3/4 {
		return fmt.Errorf("gateway: the payload limit is %d bytes; at most %d fit into a message", o.MaxPayloadBytes, wire.MaxMessageBytes*3/4)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.AnswerTimeout, 10 * time.Second},
		{&o.DrainTimeout, 5 * time.Second},
		{&o.Grace, 5 * time.Second},
		{&o.ActivationDeadline, 10 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	for o.Session == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("gateway: no randomness for a session: %w", err)
		}
		o.Session = events.SessionID(binary.BigEndian.Uint64(b[:]))
	}
	return nil
}
