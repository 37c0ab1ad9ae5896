package segments

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/files"
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

// BenchmarkTakeOver opens a partition on another machine, with an empty cache, and reads the rows of 10,000 open runs, which
// lie among those of ended ones.
func BenchmarkTakeOver(b *testing.B) {
	for _, ended := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("ended=%d", ended), func(b *testing.B) {
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
					row, err := cold.RunStore().Run(b.Context(), 0, benchID(ended+i))
					if err != nil || len(row) != 300 {
						b.Fatal(err, len(row))
					}
				}
			}
		})
	}
}
