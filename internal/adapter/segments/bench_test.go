package segments

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/files"
	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// benchID is a run id of version 7, made n milliseconds after a beginning; every other one is a child's, which is a hash.
func benchID(n int) events.RunID {
	id := events.MakeRunID(int64(1_700_000_000_000+n), [10]byte{8: byte(n >> 8), 9: byte(n)})
	if n%2 == 1 {
		r := rand.New(rand.NewPCG(uint64(n), 7))
		for i := range id {
			id[i] = byte(r.Uint32())
		}
	}
	return id
}

// benchRows are n rows of about 300 bytes, half of which can be compressed away.
func benchRows(from, n int) (rows []runstore.RunRow) {
	r := rand.New(rand.NewPCG(uint64(from), 1))
	for i := range n {
		row := bytes.Repeat([]byte{byte(i)}, 300)
		for k := range 150 {
			row[k] = byte(r.Uint32())
		}
		rows = append(rows, runstore.RunRow{RunID: benchID(from + i), Row: row})
	}
	return rows
}

// BenchmarkWrite writes 10,000 rows of 300 bytes durably into a directory, the same again and again, merges included.
func BenchmarkWrite(b *testing.B) {
	objects, err := files.OpenObjects(b.TempDir())
	check(b, err)
	s := openStore(b, objects, nil, func(o *Options) { o.Directory = b.TempDir() })
	rows := benchRows(0, 10_000)
	n := 0
	b.ResetTimer()
	for b.Loop() {
		n++
		check(b, s.RunStore().Write(b.Context(), 0, runstore.Changes{PutRuns: rows, Checkpoint: &runstore.Checkpoint{Next: events.Seq(n)}}))
	}
}

// BenchmarkTakeOver opens a partition on another machine, with an empty cache, and reads the rows of 10,000 open runs: those
// that were written last, or any of all that there are.
func BenchmarkTakeOver(b *testing.B) {
	for _, c := range []struct {
		ended  int
		spread bool
	}{{0, false}, {1_000_000, false}, {1_000_000, true}} {
		ended := c.ended
		b.Run(fmt.Sprintf("ended=%d,spread=%v", ended, c.spread), func(b *testing.B) {
			objects, err := files.OpenObjects(b.TempDir())
			check(b, err)
			s := openStore(b, objects, nil, nil)
			const each = 10_000
			next := events.Seq(0)
			for from := 0; from < ended+each; from += each {
				next++
				check(b, s.RunStore().Write(b.Context(), 0, runstore.Changes{PutRuns: benchRows(from, each), Checkpoint: &runstore.Checkpoint{Next: next}}))
			}
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				cold := openStore(b, objects, nil, func(o *Options) { o.Directory = b.TempDir() })
				b.StartTimer()
				_, err := cold.RunStore().Checkpoint(b.Context(), 0)
				check(b, err)
				for i := range each {
					at := ended + i
					if c.spread {
						at = i * ended / each
					}
					row, err := cold.RunStore().Run(b.Context(), 0, benchID(at))
					if err != nil || len(row) != 300 {
						b.Fatal(err, len(row))
					}
				}
			}
		})
	}
}

// BenchmarkHistory reads the histories of 1,000 runs, ten records each, as another process does: from segments that it has, or
// from the log's tail.
func BenchmarkHistory(b *testing.B) {
	for _, from := range []string{"segments", "tail", "log"} {
		b.Run(from, func(b *testing.B) {
			const runs, each = 1_000, 10
			log := memory.New(memory.Options{Partitions: 1}).Journal()
			objects, err := files.OpenObjects(b.TempDir())
			check(b, err)
			var records []*events.Record
			for n := range events.EventNumber(each) {
				for i := range runs {
					records = append(records, &events.Record{
						Header: events.Header{Namespace: "default", WorkflowID: "w", RunID: benchID(i), First: n + 1, Schema: events.Schema},
						Events: []events.Event{events.SignalReceived{Name: "s", Input: events.Payload{Encoding: "x", Data: make([]byte, 100)}}},
					})
				}
			}
			commit(b, log, 0, records)
			owner := openStore(b, objects, log, nil)
			if from == "segments" {
				check(b, owner.Archive().Append(b.Context(), 0, records))
				check(b, owner.RunStore().Write(b.Context(), 0, runstore.Changes{Checkpoint: &runstore.Checkpoint{Next: runs*each + 1}}))
			}
			reader := openStore(b, objects, log, func(o *Options) {
				if o.Directory = b.TempDir(); from == "log" {
					o.TailBytes = 1
				}
			})
			n := 0
			for b.Loop() {
				n++
				got, _, err := reader.Archive().History(b.Context(), 0, benchID(n%runs), 1, 0, 1<<20)
				if err != nil || len(got) != each {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}
