package cluster

import (
	"context"
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// States of partitions as a gateway knows them: by what processes say of themselves, and by the log.
const (
	running = "running" // an engine says that it owns the partition
	unowned = "unowned"
	halted  = "halted"
)

// clusterState tells the gateway how the partitions are: their owners by their announcements, epochs by the log, checkpoints and the
// scheduler's index by the objects.
func (p *Process) clusterState(ctx context.Context) (gateway.ClusterState, error) {
	state := gateway.ClusterState{Scheduler: p.works(Scheduler)[0], Projector: p.works(Projector)[0]}
	var err error
	if state.Saved, err = p.journal.Holds(scheduler.Holder); err != nil {
		return state, err
	}
	owners := p.works(Engine)
	for id := range events.Partition(p.journal.Partitions()) {
		of := gateway.PartitionState{Partition: id, Owner: owners[id], State: running}
		of.Epoch, _ = p.journal.Epoch(id)
		if of.Owner == "" {
			of.State, of.Reason = unowned, "no engine says that it owns the partition"
		}
		if err := p.journal.Halted(id); err != nil {
			of.State, of.Reason = halted, err.Error()
		}
		if of.Checkpoint, err = p.segments.Checkpoint(ctx, id); err != nil {
			return state, fmt.Errorf("the checkpoint of partition %d: %w", id, err)
		}
		state.Partitions = append(state.Partitions, of)
	}
	return state, nil
}

// works returns who of a role says that he works on which partition. A scheduler or projector works on number 0.
func (p *Process) works(r Role) map[events.Partition]string {
	works := map[events.Partition]string{}
	for _, m := range p.members {
		_, all := m.Everybody()
		for _, member := range all {
			if member.Role != string(r) {
				continue
			}
			for _, id := range member.Works {
				works[id] = member.Name
			}
		}
		break // each of them hears everybody
	}
	return works
}
