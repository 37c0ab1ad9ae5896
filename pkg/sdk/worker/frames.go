package worker

import (
	"github.com/continuo-dev/continuo/pkg/events"
)

// decodeFrames appends the records of an encoded frame to dst; no bytes are no records. For a live run it reads only what such
// a run looks at, into records that were used before.
func decodeFrames(dst []*events.Record, b []byte, live bool) ([]*events.Record, error) {
	switch {
	case len(b) == 0:
		return dst, nil
	case live:
		return events.DecodeFrameOnly(dst, b, events.LiveEvents)
	}
	records, err := events.DecodeFrame(b)
	if dst == nil {
		return records, err
	}
	return append(dst, records...), err
}

// maxKeptRecords bounds the records that an activation keeps for the next one.
const maxKeptRecords = 8

// keepRecords keeps records that were decoded for a live run, without what is in them, to be used again.
func (a *runningActivation) keepRecords(records []*events.Record) {
	if len(records) > maxKeptRecords {
		return
	}
	for _, r := range records {
		if len(r.Events) > maxKeptRecords {
			return
		}
		clear(r.Events)
	}
	a.records = records[:0]
}
