package engine

import "github.com/continuo-dev/continuo/pkg/events"

// storedRuns proves of most new run ids that the run store has no row of them, so that a start need not look. Run ids that
// are made from a time grow, and what was flushed is older than what is started. It is kept in the checkpoint, which is
// written together with the rows.
type storedRuns struct {
	known bool         // false says nothing
	top   events.RunID // no row has a run id of version 7 above this one
}

// timed reports whether a run id begins with a time.
func timed(id events.RunID) bool { return id[6]>>4 == 7 }

// wrote notes that a row is written.
func (s *storedRuns) wrote(id events.RunID) {
	if timed(id) && string(id[:]) > string(s.top[:]) {
		s.top = id
	}
}

// lacks reports whether there is surely no row of a run.
func (s *storedRuns) lacks(id events.RunID) bool {
	return s.known && timed(id) && string(id[:]) > string(s.top[:])
}

func (s *storedRuns) appendTo(b []byte) []byte {
	if !s.known {
		return b
	}
	return append(b, s.top[:]...)
}

// restore reads the end of a checkpoint's state. States of older builds end before.
func (s *storedRuns) restore(b []byte) {
	if s.known = len(b) == len(s.top); s.known {
		copy(s.top[:], b)
	}
}
