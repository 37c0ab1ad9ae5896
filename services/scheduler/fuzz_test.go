package scheduler

import (
	"bytes"
	"testing"

	"github.com/continuo-dev/continuo/internal/dueindex"
	"github.com/continuo-dev/continuo/pkg/events"
)

// FuzzRows reads the rows of a due index: each is refused, or what was read is written the same way again.
func FuzzRows(f *testing.F) {
	f.Add(appendTimer(nil, &timer{namespace: "default", workflowID: "w"}), true)
	f.Add([]byte{rowVersion, 1, 2, 3, 0, 1, 0, 9, 1, 'n', 1, 'w', 1, 't', 1, 'q', 5, 6}, true)
	f.Add([]byte{1, 1, 2, 3, 0, 1, 0, 9, 1, 'n', 1, 'w', 1, 't', 1, 'q'}, true)
	f.Add([]byte{rowVersion, 1, 2, 3, 1, 1, 1, 0, 1, 5, 0, 0, 0, 9, 1, 'n', 1, 'w', 1, 't', 1, 'q', 0}, false)
	f.Add([]byte{rowVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, false)
	f.Fuzz(func(t *testing.T, body []byte, isTask bool) {
		if ns, id, err := decodeTimer(body); err == nil {
			once := appendTimer(nil, &timer{namespace: ns, workflowID: id})
			if ns2, id2, err := decodeTimer(once); err != nil || ns2 != ns || id2 != id {
				t.Fatalf("%x is %q %q and then %q %q, %v", body, ns, id, ns2, id2, err)
			}
		}
		row := dueindex.Item{Key: dueindex.Key{Kind: dueindex.KindActivation, RunID: events.RunID{1}}, Body: body}
		if isTask {
			row.Key.Kind = dueindex.KindTask
			row.Key.Timer.Step = 7
		}
		item, err := decodeItem(row, 1, interned{})
		if err != nil {
			return
		}
		at, err := decodeRow(row, interned{})
		if err != nil || at.ID != item.ID() || at.Kind != item.Kind() || at.Begun != item.Begun() {
			t.Fatalf("%x is %+v and, at first sight, %+v, %v", body, item, at, err)
		}
		once := appendItem(nil, &item)
		row.Body = once
		again, err := decodeItem(row, 1, interned{})
		if err != nil || !bytes.Equal(once, appendItem(nil, &again)) {
			t.Fatalf("%x was read, and what it is written as\n%x was not: %v", body, once, err)
		}
	})
}

// Rows of version 1 had no offers for tasks.
func TestRowsOfVersion1AreRead(t *testing.T) {
	t.Parallel()
	row := dueindex.Item{
		Key:  dueindex.Key{Kind: dueindex.KindTask, RunID: events.RunID{1}, Timer: events.TimerID{Step: 7}},
		Body: []byte{1, 1, 2, 3, 0, 1, 0, 9, 1, 'n', 1, 'w', 1, 't', 1, 'q'},
	}
	item, err := decodeItem(row, 1, interned{})
	if err != nil || item.Task.Queue != "q" || item.Task.OfferTo != 0 {
		t.Errorf("%+v, %v", item.Task, err)
	}
	item.Task.OfferTo, item.Task.OfferUntil = 5, 6
	row.Body = appendItem(nil, &item)
	if again, err := decodeItem(row, 1, interned{}); err != nil || again.Task.OfferTo != 5 || again.Task.OfferUntil != 6 {
		t.Errorf("%+v, %v", again.Task, err)
	}
}
