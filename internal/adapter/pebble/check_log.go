package pebble

import (
	"fmt"

	"github.com/continuo-dev/continuo/pkg/events"
)

// logChecker judges records, the index of histories and the notes of what is to be trimmed against each other.
type logChecker struct {
	*checker
	show  func(r *events.Record, kept bool)
	state map[events.Partition]*logState
}

// logState is what the records of a partition have shown so far.
type logState struct {
	seq   events.Seq // of the last record
	epoch uint64
	time  events.Time
}

func (c *logChecker) of(p *PartitionReport) *logState {
	s := c.state[p.Partition]
	if s == nil {
		s = &logState{}
		c.state[p.Partition] = s
	}
	return s
}

// event judges a record: its frame, its place after the one before, and that the index or a note knows it.
func (c *logChecker) event(p *PartitionReport, key, value []byte) {
	where := describeKey(key)
	seq, ok := seqOf(key)
	if !ok {
		c.problem(where, "the key is not that of a record")
		return
	}
	s := c.of(p)
	c.gap(p, s.seq, seq)
	s.seq = seq
	record, err := readRecord(p.Partition, seq, value)
	if err != nil {
		c.problem(where, "record %d: %s", seq, reason(err))
		return
	}
	if record.Epoch < s.epoch || record.Epoch > p.Epoch {
		c.problem(where, "record %d is of epoch %d after epoch %d; the last owner's is %d", seq, record.Epoch, s.epoch, p.Epoch)
	}
	if record.Time < s.time {
		c.problem(where, "time falls at record %d", seq)
	}
	s.epoch, s.time = max(s.epoch, record.Epoch), max(s.time, record.Time)

	noted, err := c.has(seqKey(famGarbage, p.Partition, seq))
	if err != nil {
		c.problem(where, "record %d: %v", seq, err)
		return
	}
	if record.RunID.IsZero() || len(record.Events) == 0 {
		if !noted {
			c.problem(where, "record %d belongs to no history and would never be trimmed", seq)
		}
		c.show(record, false)
		return
	}
	index := historyKey(p.Partition, record.RunID, record.First)
	place, err := getCopy(c.db, index)
	c.show(record, place != nil)
	switch {
	case err != nil:
		c.problem(where, "record %d: %v", seq, err)
	case place == nil && !noted:
		c.problem(where, "record %d is missing in the history of run %s", seq, record.RunID)
	case place == nil:
		// Its run is forgotten; the record goes with the trim.
	default:
		at, count, err := readPlace(index, place)
		if err != nil || at != seq || int(count) != len(record.Events) {
			c.problem(describeKey(index), "the index names record %d with %d events and the log has record %d with %d", at, count, seq, len(record.Events))
		}
	}
}

// gap judges the sequence numbers between two records. Below First only those that a history keeps are there.
func (c *logChecker) gap(p *PartitionReport, before, seq events.Seq) {
	from := max(before+1, p.First)
	if seq > from {
		c.problem(fmt.Sprintf("the log of partition %d", p.Partition), "records %d to %d are missing", from, seq-1)
	}
}

// ends judges the ends of the logs.
func (c *logChecker) ends() {
	for n := range c.Partitions {
		p := &c.Partitions[n]
		if p.Last+1 < p.First {
			c.problem(fmt.Sprintf("the log of partition %d", p.Partition), "it begins at %d and ends at %d", p.First, p.Last)
		}
	}
}

func (c *logChecker) has(key []byte) (bool, error) {
	value, err := getCopy(c.db, key)
	return value != nil, err
}

// garbage judges a note of what goes with the trim.
func (c *logChecker) garbage(p *PartitionReport, key []byte) {
	where := describeKey(key)
	seq, ok := seqOf(key)
	if !ok {
		c.problem(where, "the key is not that of a record")
		return
	}
	there, err := c.has(seqKey(famEvent, p.Partition, seq))
	switch {
	case err != nil:
		c.problem(where, "%v", err)
	case !there:
		c.problem(where, "record %d is missing", seq)
	case seq < p.First:
		c.problem(where, "record %d should be trimmed: the log begins at %d", seq, p.First)
	}
}

// history judges an entry of the index. That it fits its record is judged with the record.
func (c *logChecker) history(p *PartitionReport, key, value []byte) {
	where := describeKey(key)
	at, err := readHistoryRow(key, value)
	if err != nil {
		c.problem(where, "%s", reason(err))
		return
	}
	run, _, _ := historyOf(key)
	stored, err := getCopy(c.db, seqKey(famEvent, p.Partition, at.seq))
	switch {
	case err != nil:
		c.problem(where, "%v", err)
	case stored == nil:
		c.problem(where, "record %d of run %s, from event %d on, is missing", at.seq, run, at.first)
	default:
		record, err := readRecord(p.Partition, at.seq, stored)
		if err == nil && (record.RunID != run || record.First != at.first) {
			c.problem(where, "record %d is not of run %s from event %d on", at.seq, run, at.first)
		}
	}
}
