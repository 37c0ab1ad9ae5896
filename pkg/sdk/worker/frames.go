package worker

import "github.com/continuo-dev/continuo/pkg/events"

// decodeFrames appends the records of encoded frames to dst.
func decodeFrames(dst []*events.Record, b []byte) ([]*events.Record, error) {
	if len(b) == 0 {
		return dst, nil
	}
	frame, err := events.OpenFrame(b)
	if err != nil {
		return dst, err
	}
	for framed := range frame.All() {
		record, err := framed.Record()
		if err != nil {
			return dst, err
		}
		dst = append(dst, record)
	}
	return dst, nil
}
