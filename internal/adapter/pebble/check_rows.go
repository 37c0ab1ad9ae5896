package pebble

import (
	"bytes"
	"errors"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

// check judges every row of every family.
func (c *checker) check(judge Judge) {
	c.unknownKeys()
	log := logChecker{checker: c, show: judge.Record, state: map[events.Partition]*logState{}}
	for _, f := range families {
		c.family(f.letter, f.name, func(p *PartitionReport, key, value []byte) {
			var err error
			switch f.letter {
			case famEvent:
				log.event(p, key, value)
			case famGarbage:
				log.garbage(p, key)
			case famHistory:
				log.history(p, key, value)
			case famRun:
				if err = judge.Row(value); err == nil && len(key) != 19 {
					err = errors.New("the key does not name a run")
				}
			default:
				err = c.checkRow(f.letter, p, key, value)
			}
			if err != nil {
				c.problem(describeKey(key), "%s", reason(err))
			}
		})
		if f.letter == famEvent {
			log.ends()
		}
	}
}

// reason is what an error says besides the key, which the problem names already, and the advice to run this check.
func reason(err error) string {
	s := strings.TrimSuffix(err.Error(), "; run 'continuo store check'")
	if errors.Is(err, ErrDamaged) {
		if i := strings.LastIndex(s, ": "); i >= 0 {
			s = s[i+2:]
		}
	}
	return s
}

// checkRow judges a row that can be judged by itself, or by its partner under another key.
func (c *checker) checkRow(family byte, p *PartitionReport, key, value []byte) error {
	switch family {
	case famMeta:
		return nil // compared with the files
	case famPartition, famFirst:
		_, err := readSeq(key, value)
		return err
	case famHold:
		next, err := readSeq(key, value)
		if err == nil && next < p.First {
			c.problem(describeKey(key), "the hold at %d lies before the beginning of the log at %d", next, p.First)
		}
		return err
	case famCheckpoint:
		checkpoint, err := readCheckpoint(key, value)
		if err == nil {
			c.position(p, key, checkpoint.Next)
		}
		return err
	case famDuePosition:
		next, err := readSeq(key, value)
		if err == nil {
			c.position(p, key, next)
		}
		return err
	case famNewest:
		_, err := readNewest(key, value)
		return err
	case famAnswer:
		_, err := readAnswer(key, value)
		return err
	case famEnded:
		_, err := readEnded(key, value)
		return err
	case famQuarantined:
		_, err := readQuarantined(key, value)
		return err
	case famDue:
		item, err := readDue(key, value)
		if err == nil {
			err = c.partner(byRunKey(p.Partition, item.Key), "is not listed by its run")
		}
		return err
	case famDueKey:
		due, k, err := checkDueKey(key, value)
		if err == nil {
			err = c.partner(dueKey(p.Partition, due, k), "has no item")
		}
		return err
	}
	return errors.New("rows of this kind are unknown")
}

// position checks a place up to which something has folded the log.
func (c *checker) position(p *PartitionReport, key []byte, next events.Seq) {
	if next > p.Last+1 {
		c.problem(describeKey(key), "it includes records up to %d and the log ends at %d", next-1, p.Last)
	}
}

// partner checks that another key is there.
func (c *checker) partner(key []byte, otherwise string) error {
	value, err := getCopy(c.db, key)
	if err == nil && value == nil {
		err = errors.New(otherwise)
	}
	return err
}

// unknownKeys finds keys between the families, which are listed in the order of their letters.
func (c *checker) unknownKeys() {
	from := []byte{0}
	for i := range len(families) + 1 {
		var to []byte
		if i < len(families) {
			to = []byte{families[i].letter}
		}
		if !bytes.Equal(from, to) {
			err := scan(c.db, from, to, func(key, _ []byte) (bool, error) {
				c.problem(describeKey(key), "no version wrote such a key")
				return true, nil
			})
			if err != nil {
				c.problem("keys of unknown kinds", "%v", err)
			}
		}
		if to != nil {
			from = after(to)
		}
	}
}
