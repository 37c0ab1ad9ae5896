package gateway

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/pkg/events"
)

// readLag bounds the reading of the records whose ages tell how far readers are behind.
const readLag = 3 * time.Second

// ListPartitions tells of each partition who owns it and how far its readers are.
func (s service) ListPartitions(ctx context.Context, _ *apiv1.ListPartitionsRequest) (*apiv1.ListPartitionsResponse, error) {
	response, err := s.listPartitions(ctx)
	return response, asStatus(err)
}

func (g *Gateway) listPartitions(ctx context.Context) (*apiv1.ListPartitionsResponse, error) {
	if g.deps.Cluster == nil {
		return nil, &events.Error{Code: events.NotImplemented, Message: "this gateway does not know who owns partitions"}
	}
	state, err := g.deps.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	saved, shown := map[events.Partition]events.Seq{}, map[events.Partition]events.Seq{}
	for _, at := range state.Saved {
		saved[at.Partition] = at.Next
	}
	// A read store that is away takes nothing from the rest of the answer.
	positions, away := g.deps.Reader.Watermark(ctx)
	for _, at := range positions {
		shown[at.Partition] = at.Next
	}
	ages, cancel := context.WithTimeout(ctx, readLag)
	defer cancel()
	response := &apiv1.ListPartitionsResponse{Scheduler: state.Scheduler, Projector: state.Projector}
	for i := range state.Partitions {
		p := &state.Partitions[i]
		first, last := g.deps.Follower.Bounds(p.Partition)
		info := &apiv1.PartitionInfo{
			Partition: int32(p.Partition), Owner: p.Owner, Epoch: p.Epoch, State: p.State, Reason: p.Reason,
			FirstSeq: uint64(first), LastSeq: uint64(last),
		}
		known := map[events.Seq]*durationpb.Duration{}
		reader := func(next events.Seq, is bool) *apiv1.PartitionReader {
			if !is {
				return nil
			}
			next = max(next, 1)
			r := &apiv1.PartitionReader{Next: uint64(next), LagRecords: uint64(max(0, int64(last)-int64(next)+1))}
			if r.GetLagRecords() == 0 {
				r.Lag = durationpb.New(0)
				return r
			}
			age, asked := known[next]
			if !asked {
				age = g.age(ages, p.Partition, max(next, first))
				known[next] = age
			}
			r.Lag = age
			return r
		}
		next, is := saved[p.Partition]
		info.Scheduler = reader(next, is)
		info.Projector = reader(shown[p.Partition], away == nil)
		info.Checkpoint = reader(p.Checkpoint, p.Checkpoint > 0)
		response.Partitions = append(response.Partitions, info)
	}
	return response, nil
}

// age is how old a record of the log is; nil if it cannot be read.
func (g *Gateway) age(ctx context.Context, p events.Partition, seq events.Seq) *durationpb.Duration {
	reader, err := g.deps.Follower.Follow(ctx, []journal.Position{{Partition: p, Next: seq}})
	if err != nil {
		return nil
	}
	defer reader.Close()
	records, err := reader.Next(ctx, 1)
	if err != nil || len(records) == 0 {
		return nil
	}
	return durationpb.New(max(0, events.TimeOf(g.deps.Clock.Now()).Sub(records[0].Time)))
}
