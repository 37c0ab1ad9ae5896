package journal

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// CheckStep reports why a step cannot follow in partition p: its records must be of the owner's epoch with sequence numbers
// that go on from last, and it cannot consume more commands than were taken. Adapters call it before a step is written.
func CheckStep(step Step, p events.Partition, epoch uint64, last events.Seq, taken int) error {
	if step.Consumed < 0 || step.Consumed > taken {
		return fmt.Errorf("a step consumes %d commands and %d were taken", step.Consumed, taken)
	}
	for _, r := range step.Records {
		last++
		switch {
		case r.Partition != p:
			return fmt.Errorf("a record of partition %d is committed to partition %d", r.Partition, p)
		case r.Seq != last:
			return fmt.Errorf("record %d is committed where %d is due in partition %d", r.Seq, last, p)
		case r.Epoch != epoch:
			return fmt.Errorf("record %d is of epoch %d and its owner of epoch %d in partition %d", r.Seq, r.Epoch, epoch, p)
		}
	}
	return nil
}
