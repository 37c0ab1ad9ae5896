package wire

import (
	"fmt"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// The versions of the worker and client protocols that this build speaks, both included.
const (
	MinProtocol = 1
	MaxProtocol = 1
)

// Limits of the wire, in bytes.
const (
	// MaxMessageBytes bounds one gRPC message and one REST body.
	MaxMessageBytes = 4 << 20
	// StreamWindow and ConnectionWindow are how many bytes may be on their way on a stream and on a connection, at both ends. They
	// are set because gRPC would otherwise measure the connection by a ping with nearly every message.
	StreamWindow     = MaxMessageBytes
	ConnectionWindow = 2 * StreamWindow
	// MaxPayloadBytes bounds one payload unless the server is configured otherwise; the welcome tells the bound that holds.
	MaxPayloadBytes = 2 << 20
	// MaxChunkBytes bounds the history in one delivery or replay chunk. A single record above it travels alone.
	MaxChunkBytes = 1 << 20
)

// Times of the wire.
const (
	// Keepalive is how often a worker is to send something; a stream silent for three times as long is cut.
	Keepalive = 10 * time.Second
	// MaxWait bounds the time a request may wait for a result or a history.
	MaxWait = time.Minute
)

// CheckProtocol returns the refusal of a peer that speaks the given protocol version, or nil when it is spoken here.
func CheckProtocol(version int32) *events.Error {
	switch {
	case version <= 0:
		return &events.Error{Code: events.InvalidArgument, Message: "hello names no protocol version; the first is 1"}
	case version < MinProtocol:
		return &events.Error{Code: events.SDKTooOld, Message: fmt.Sprintf(
			"the SDK speaks protocol %d, this server speaks %d to %d: upgrade the SDK", version, MinProtocol, MaxProtocol)}
	case version > MaxProtocol:
		return &events.Error{Code: events.SDKTooNew, Message: fmt.Sprintf(
			"the SDK speaks protocol %d, this server speaks %d to %d: upgrade the server first", version, MinProtocol, MaxProtocol)}
	}
	return nil
}
