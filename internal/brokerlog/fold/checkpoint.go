package fold

import (
	"encoding/binary"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// AppendCheckpoint appends a state, and the cursors of a forwarder if it is one's, to dst. A state that has halted is written
// as it was before the message that halted it: whoever begins with it meets that message again.
//
//	content  bytes
//	      0      2  partition
//	      2  3+n    log: partitions 2, length 1, cluster
//	      …      8  epoch
//	      …      8  owner
//	      …      8  base
//	      …      8  seq
//	      …      1  flags: 1 the owner is broken
//	      …     20  at
//	      …     20  in
//	      …   1+8n  owners of former epochs, the oldest first
//	      …  2+10n  taken, sent, forwarded: three lists of partition 2, n 8
//	      …    6*8  messages accepted, opened, duplicate, stale, late, foreign
func AppendCheckpoint(dst []byte, s *State, forwarded []Counter) []byte {
	from := len(dst)
	dst = begin(dst, "cts")
	dst = binary.BigEndian.AppendUint16(dst, uint16(s.partition))
	dst = appendIdentity(dst, s.log)
	for _, n := range [...]uint64{s.epoch, uint64(s.owner), uint64(s.base), uint64(s.seq)} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	flags := byte(0)
	if s.broken && !mutant.On(mutant.CheckpointForgetsBroken) {
		flags |= 1
	}
	dst = append(dst, flags)
	dst = appendPosition(appendPosition(dst, s.at), s.in)
	dst = append(dst, byte(len(s.past)))
	for _, id := range s.past {
		dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	}
	taken := s.taken
	if mutant.On(mutant.CheckpointForgetsTaken) {
		taken = nil
	}
	dst = appendCounters(appendCounters(appendCounters(dst, taken), s.sent), forwarded)
	for v := Accepted; v < Halted; v++ {
		dst = binary.BigEndian.AppendUint64(dst, s.counts[v])
	}
	return seal(dst, from)
}

// DecodeCheckpoint reads what [AppendCheckpoint] wrote; nothing of it aliases b. The error is a [DamageError] or a
// [NewerError]: an older checkpoint may be readable, else the reader begins at the first message.
func DecodeCheckpoint(b []byte) (*State, []Counter, error) {
	in, err := open(b, "cts", "checkpoint")
	if err != nil {
		return nil, nil, err
	}
	s := &State{partition: events.Partition(in.u16()), log: in.identity()}
	s.epoch, s.owner, s.base, s.seq = in.u64(), events.OwnerID(in.u64()), events.Seq(in.u64()), events.Seq(in.u64())
	flags := in.u8()
	s.broken = flags&1 != 0
	s.at, s.in = in.position(), in.position()
	for range in.u8() {
		s.past = append(s.past, events.OwnerID(in.u64()))
	}
	var forwarded counters
	for _, list := range [...]*counters{&s.taken, &s.sent, &forwarded} {
		if *list, err = in.counters(); err != nil {
			return nil, nil, err
		}
	}
	for v := Accepted; v < Halted; v++ {
		s.counts[v] = in.u64()
	}
	if err := in.done("checkpoint"); err != nil {
		return nil, nil, err
	}
	switch {
	case flags > 1:
		return nil, nil, damaged("a checkpoint has unknown flags %#x", flags)
	case s.base > s.seq, (s.epoch == 0) != (s.owner == 0), s.epoch == 0 && s.seq > 0:
		return nil, nil, damaged("a checkpoint of epoch %d, owner %d has base %d and seq %d", s.epoch, s.owner, s.base, s.seq)
	case len(s.past) > MaxPast, len(s.past) > 0 && uint64(len(s.past)) >= s.epoch:
		return nil, nil, damaged("a checkpoint of epoch %d has %d owners before it", s.epoch, len(s.past))
	case s.epoch > 0 && s.log.validate() != nil:
		return nil, nil, s.log.validate()
	case s.epoch == 0 && s.log != Identity{}:
		return nil, nil, damaged("a checkpoint without an epoch has a log of cluster %q", s.log.Cluster)
	}
	return s, forwarded, nil
}
