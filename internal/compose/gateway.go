package compose

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway"
	"github.com/continuo-dev/continuo/services/scheduler"
	"github.com/continuo-dev/continuo/services/scheduler/matcher"
)

// Partitions returns the numbers of n partitions.
func Partitions(n int) []events.Partition {
	all := make([]events.Partition, n)
	for i := range all {
		all[i] = events.Partition(i)
	}
	return all
}

// Backlog sums what waits by queue.
func Backlog(schedule *scheduler.Scheduler) []gateway.QueueBacklog {
	var (
		out   []gateway.QueueBacklog
		index = map[events.TaskQueue]int{}
	)
	for _, lane := range schedule.Backlog() {
		i, ok := index[lane.Queue]
		if !ok {
			i = len(out)
			index[lane.Queue] = i
			out = append(out, gateway.QueueBacklog{Queue: lane.Queue})
		}
		if waiting := int64(lane.Waiting + lane.Later); lane.Kind == matcher.Task {
			out[i].Tasks += waiting
		} else {
			out[i].Activations += waiting
		}
	}
	return out
}

// ProcessName tells this process apart for people.
func ProcessName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// Revision is the version-control revision of this binary, empty if Go did not record it.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
