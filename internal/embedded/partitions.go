package embedded

import (
	"github.com/continuo-dev/continuo/internal/compose"
	"github.com/continuo-dev/continuo/internal/journal"
	"github.com/continuo-dev/continuo/services/engine"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/scheduler"
)

// clusterState tells the gateway how the partitions are: all of them are this process's.
func clusterState(log journal.Follower, own *engine.Engine) (gateway.ClusterState, error) {
	self := compose.ProcessName()
	saved, err := log.Holds(scheduler.Holder)
	if err != nil {
		return gateway.ClusterState{}, err
	}
	state := gateway.ClusterState{Scheduler: self, Projector: self, Saved: saved}
	for _, h := range own.Health() {
		state.Partitions = append(state.Partitions, gateway.PartitionState{
			Partition: h.Partition, Owner: self, Epoch: h.Epoch, State: string(h.State), Reason: h.Reason, Checkpoint: h.Checkpoint,
		})
	}
	return state, nil
}
