package events

// Well-known payload encodings. Others are passed through untouched.
const (
	EncodingJSON     = "json"
	EncodingProtobuf = "protobuf"
)

// InlinePayloadBytes is the largest payload kept in a record; larger ones are spilled to the blob store first.
const InlinePayloadBytes = 128 << 10

// Payload is a user's value: opaque bytes and the name of their encoding. The suite never decodes it. The zero Payload
// means "no value".
type Payload struct {
	Encoding string
	Data     []byte
	// Blob is the key of the bytes in the blob store when they were too large to be inlined; Data is nil then.
	Blob string
	// BlobBytes is the size of what Blob points to; 0 when Blob is empty.
	BlobBytes int64
}

// IsZero reports whether there is no value.
func (p Payload) IsZero() bool { return p.Encoding == "" && p.Blob == "" && len(p.Data) == 0 }

// Size returns the number of bytes of the value, wherever they are.
func (p Payload) Size() int64 {
	if p.Blob != "" {
		return p.BlobBytes
	}
	return int64(len(p.Data))
}

// PayloadOf returns the value that an event carries, which may lie in the blob store; zero if its kind has none. The details
// of failures are not values: they are always inline.
func PayloadOf(e Event) Payload {
	switch e := e.(type) {
	case RunStarted:
		return e.Input
	case RunContinued:
		return e.Input
	case RunCompleted:
		return e.Result
	case TaskScheduled:
		return e.Input
	case TaskCompleted:
		return e.Result
	case TaskAttemptFailed:
		return e.Details
	case HeartbeatRecorded:
		return e.Details
	case StepRecorded:
		return e.Result
	case SignalReceived:
		return e.Input
	case ViewSet:
		return e.Value
	default:
		return Payload{}
	}
}
