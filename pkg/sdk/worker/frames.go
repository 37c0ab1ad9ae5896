package worker

import "github.com/continuo-dev/continuo/pkg/events"

// decodeFrames appends the records of an encoded frame to dst; no bytes are no records.
func decodeFrames(dst []*events.Record, b []byte) ([]*events.Record, error) {
	if len(b) == 0 {
		return dst, nil
	}
	records, err := events.DecodeFrame(b)
	return append(dst, records...), err
}
