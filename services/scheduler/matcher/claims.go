package matcher

import (
	"maps"

	"github.com/continuo-dev/continuo/pkg/events"
)

// claim says that a worker holds something the matcher has not seen open yet or, without a worker, that the session does not
// take what it will be offered.
type claim struct {
	session    events.SessionID
	worker     events.WorkerID
	attempt    events.Attempt
	activation uint64
}

// maxClaims bounds what is remembered of work that was not seen open yet.
const maxClaims = 1_000_000

// claims remembers claims. One that comes after its work was seen to close waits for ever, so the oldest are forgotten, half of
// the limit at a time. What was forgotten may be delivered twice, as after a loss.
type claims struct {
	limit         int
	recent, older map[ID]claim
}

func newClaims(limit int) claims {
	return claims{limit: limit, recent: map[ID]claim{}, older: map[ID]claim{}}
}

func (c *claims) get(id ID) (found claim, ok bool) {
	if found, ok = c.recent[id]; !ok {
		found, ok = c.older[id]
	}
	return found, ok
}

func (c *claims) has(id ID) bool { _, ok := c.get(id); return ok }

// put remembers a claim in place of an earlier one.
func (c *claims) put(id ID, said claim) {
	delete(c.older, id)
	c.recent[id] = said
	if 2*len(c.recent) > c.limit {
		c.recent, c.older = map[ID]claim{}, c.recent
	}
}

func (c *claims) drop(id ID) {
	delete(c.recent, id)
	delete(c.older, id)
}

// dropAll forgets what a session said.
func (c *claims) dropAll(session events.SessionID) {
	of := func(_ ID, said claim) bool { return said.session == session }
	maps.DeleteFunc(c.recent, of)
	maps.DeleteFunc(c.older, of)
}
