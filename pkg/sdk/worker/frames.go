package worker

import (
	"github.com/continuo-dev/continuo/internal/replay"
	"github.com/continuo-dev/continuo/pkg/events"
)

// decodeFrames appends the records of an encoded frame to dst; no bytes are no records. For a live run it reads only what such
// a run looks at.
func decodeFrames(dst []*events.Record, b []byte, live bool) ([]*events.Record, error) {
	if len(b) == 0 {
		return dst, nil
	}
	decode := events.DecodeFrame
	if live {
		decode = decodeLive
	}
	records, err := decode(b)
	if dst == nil {
		return records, err
	}
	return append(dst, records...), err
}

func decodeLive(b []byte) ([]*events.Record, error) {
	return events.DecodeFrameOnly(b, replay.LiveEvents)
}
