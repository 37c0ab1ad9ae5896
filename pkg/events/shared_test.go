package events_test

import (
	"sync"
	"testing"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/pkg/events/internal/eventgen"
)

// Records are shared by all readers of the log, and several may encode one at a time. The race detector sees whoever writes
// to what he encodes, even if he writes what was there.
func TestEncodingOnlyReads(t *testing.T) {
	t.Parallel()
	info := events.HistoryInfo{Namespace: "default", WorkflowID: "w", RunID: events.MakeRunID(1, [10]byte{1})}
	r := &events.Record{Header: events.Header{Schema: events.Schema, Namespace: info.Namespace, WorkflowID: info.WorkflowID, RunID: info.RunID, First: 1}}
	for _, kind := range events.EventKinds() {
		r.Events = append(r.Events, eventgen.Full(kind.Zero))
	}
	r.Answers = []events.Answer{eventgen.Full(events.Answer{})}
	odd := *r
	odd.Unknown = &events.Unknown{Fields: []byte{0xa8, 0x1f, 1}, Parts: []events.UnknownPart{{Field: 21, Bytes: []byte{1}}}}
	odd.Events = []events.Event{events.TimerFired{Step: 1}}
	var commands []events.Envelope
	for _, kind := range events.CommandKinds() {
		env := eventgen.Full(events.Envelope{})
		env.Command, env.Unknown = eventgen.Full(kind.Zero), nil
		commands = append(commands, env)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for _, shared := range []*events.Record{r, &odd} {
				events.AppendRecord(nil, shared)
				if _, err := events.MarshalHistory(info, []*events.Record{shared}); err != nil {
					t.Error(err)
				}
				events.Effects(nil, shared)
			}
			for i := range commands {
				events.AppendEnvelope(nil, &commands[i])
			}
		})
	}
	readers.Wait()
}
