package powercut

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"path/filepath"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/engine"
)

// contents is what a stopped store has.
type contents struct {
	runs    map[events.RunID]*run
	records map[place]record
	first   map[events.Partition]events.Seq
}

type run struct {
	workflow events.WorkflowID
	signals  map[int]int // how often each is in the history
	result   string
}

type place struct {
	partition events.Partition
	seq       events.Seq
}

type record struct {
	hash uint64
	kept bool
}

// read reads and checks all of a stopped store.
func read(dir string) (*contents, []pebble.Problem, error) {
	c := &contents{runs: map[events.RunID]*run{}, records: map[place]record{}, first: map[events.Partition]events.Seq{}}
	blobs, err := files.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		return nil, nil, err
	}
	var odd []pebble.Problem
	found, err := pebble.Check(dir, pebble.Judge{Row: engine.CheckRow, Record: func(r *events.Record, kept bool) {
		at := place{r.Partition, r.Seq}
		hash := fnv.New64a()
		_, _ = hash.Write(events.AppendRecord(nil, r))
		c.records[at] = record{hash.Sum64(), kept}
		for _, e := range r.Events {
			if err := c.add(r, e, blobs); err != nil {
				odd = append(odd, pebble.Problem{Where: fmt.Sprint(at), What: err.Error()})
			}
		}
	}})
	for _, p := range found.Partitions {
		c.first[p.Partition] = p.First
	}
	return c, append(found.Problems, odd...), err
}

func (c *contents) add(r *events.Record, e events.Event, blobs *files.Store) error {
	known := c.runs[r.RunID]
	if known == nil {
		known = &run{signals: map[int]int{}}
		c.runs[r.RunID] = known
	}
	switch e := e.(type) {
	case events.RunStarted:
		known.workflow = r.WorkflowID
		if e.Input.Blob != "" {
			_, err := blobs.Get(context.Background(), e.Input.Blob)
			return err
		}
	case events.SignalReceived:
		var n int
		if err := json.Unmarshal(e.Input.Data, &n); err != nil {
			return err
		}
		known.signals[n]++
	case events.RunCompleted:
		known.result = string(e.Result.Data)
	}
	return nil
}

// reused says which positions of an earlier state of the store have other records now, or none.
func (c *contents) reused(before *contents) []string {
	if before == nil {
		return nil
	}
	var found []string
	for at, was := range before.records {
		is, there := c.records[at]
		switch {
		case there && is.hash != was.hash:
			found = append(found, fmt.Sprintf("position %v has another record than before the cut", at))
		case !there && (was.kept || at.seq >= c.first[at.partition]):
			found = append(found, fmt.Sprintf("the record at position %v was there before the cut", at))
		}
	}
	return found
}
