package engine

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/internal/runstore"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Bounds of what is remembered to recognize repeated commands.
const (
	maxSessions       = 10_000
	maxGaps           = 1_024 // per session
	keptGaps          = 4     // per session in a checkpoint: the newest
	sessionIdle       = 24 * time.Hour
	recentAnswers     = 4_096
	requestsKept      = 1_000 // per run
	requestKept       = 24 * time.Hour
	maxMessageBytes   = 512 // of a kept answer
	requestSlotPrefix = " " // no request id has one
	previousSlot      = requestSlotPrefix + "previous"
	previousRuns      = 16 // in which a request that names no run is looked for
)

// session is what is known of one life of a gateway: which of its commands were handled. That is all up to n without the
// gaps: commands that were lost with an owner come again later than newer ones, under their old number.
type session struct {
	n    uint64
	gaps []gap // ascending
	last events.Time
}

type gap struct{ from, to uint64 }

// findGap returns the index of the gap with n, or false.
func (s *session) findGap(n uint64) (int, bool) {
	return slices.BinarySearchFunc(s.gaps, n, func(g gap, n uint64) int {
		switch {
		case g.to < n:
			return -1
		case g.from > n:
			return 1
		}
		return 0
	})
}

// has reports whether command n was handled.
func (s *session) has(n uint64) bool {
	_, missing := s.findGap(n)
	return n <= s.n && !missing
}

// add notes that command n was handled. Beyond maxGaps the oldest gap counts as handled.
func (s *session) add(n uint64) {
	if n > s.n {
		if n > s.n+1 {
			s.gaps = append(s.gaps, gap{s.n + 1, n - 1})
			s.gaps = s.gaps[max(0, len(s.gaps)-maxGaps):]
		}
		s.n = n
		return
	}
	i, ok := s.findGap(n)
	if !ok {
		return
	}
	g := s.gaps[i]
	var rest []gap
	if g.from < n {
		rest = append(rest, gap{g.from, n - 1})
	}
	if n < g.to {
		rest = append(rest, gap{n + 1, g.to})
	}
	s.gaps = slices.Replace(s.gaps, i, i+1, rest...)
	s.gaps = s.gaps[max(0, len(s.gaps)-maxGaps):]
}

type stamp struct {
	session events.SessionID
	n       uint64
}

// recent is a bounded memory of answers to stamped commands, for those the transport repeats. A session counts its commands,
// so where their answers are is kept for a span of numbers at once: mostly the answer to be added and the oldest are found
// without a look into the map.
type recent struct {
	blocks  [recentAnswers / blockAnswers]*[blockAnswers]events.Answer // a ring once all places are taken
	taken   int
	oldest  int
	spans   map[spanKey]*span
	adding  *span // that was added to last
	leaving *span // that lost an answer last
}

// blockAnswers is how many answers are made room for at a time.
const blockAnswers = 32

// at returns a place of the ring that is taken.
func (r *recent) at(place int) *events.Answer {
	return &r.blocks[place/blockAnswers][place%blockAnswers]
}

// spanNumbers is how many numbers a span has.
const spanNumbers = 32

type spanKey struct {
	session events.SessionID
	n       uint64 // of the stamp, divided by spanNumbers
}

// span says where the answers to spanNumbers commands are: places are indexes into the ring, counted from 1; 0 is not kept.
type span struct {
	key    spanKey
	kept   int
	places [spanNumbers]int16
}

func (s stamp) span() spanKey { return spanKey{s.session, s.n / spanNumbers} }

func (r *recent) add(a events.Answer) {
	if a.Session == 0 || a.Code == events.Accepted {
		return
	}
	s := stamp{a.Session, a.N}
	in := r.adding
	if in == nil || in.key != s.span() {
		in = r.spanOf(s.span())
		r.adding = in
	}
	place := &in.places[s.n%spanNumbers]
	if *place != 0 {
		return
	}
	in.kept++
	if r.taken < recentAnswers {
		if r.taken%blockAnswers == 0 {
			r.blocks[r.taken/blockAnswers] = new([blockAnswers]events.Answer)
		}
		*r.at(r.taken) = a
		r.taken++
		*place = int16(r.taken)
		return
	}
	old := r.at(r.oldest)
	r.forget(stamp{old.Session, old.N})
	*old = a
	r.oldest++
	*place = int16(r.oldest)
	r.oldest %= recentAnswers
}

// spanOf returns a span, a new one if there is none.
func (r *recent) spanOf(key spanKey) *span {
	in := r.spans[key]
	if in == nil {
		if r.spans == nil {
			r.spans = make(map[spanKey]*span)
		}
		in = &span{key: key}
		r.spans[key] = in
	}
	return in
}

// forget forgets where the answer to a stamped command is.
func (r *recent) forget(s stamp) {
	in := r.leaving
	if in == nil || in.key != s.span() {
		in = r.spans[s.span()]
		r.leaving = in
	}
	in.places[s.n%spanNumbers] = 0
	if in.kept--; in.kept == 0 {
		delete(r.spans, in.key)
		r.leaving = nil
	}
}

// find returns the answer to a stamped command if it is still kept.
func (r *recent) find(s stamp) (events.Answer, bool) {
	in := r.spans[s.span()]
	if in == nil || in.places[s.n%spanNumbers] == 0 {
		return events.Answer{}, false
	}
	return *r.at(int(in.places[s.n%spanNumbers]) - 1), true
}

// repeated returns the answer to a command that the transport repeats.
func (p *partition) repeated(env events.Envelope) (events.Answer, bool) {
	if env.Session == 0 {
		return events.Answer{}, false
	}
	s, ok := p.sessions[env.Session]
	if !ok || !s.has(env.N) || mutant.On(mutant.SkipStampDedup) {
		return events.Answer{}, false
	}
	a, ok := p.recent.find(stamp{env.Session, env.N})
	if !ok {
		a = events.Answer{
			RequestID: env.RequestID, Session: env.Session, N: env.N, RunID: env.RunID, Code: events.Accepted,
			Message: "the command was handled before; its answer is no longer kept here",
		}
	}
	a.Duplicate = true
	return a, true
}

// reply adds the answer to a command of this turn.
func (p *partition) reply(g *group, a events.Answer) {
	g.answers = append(g.answers, a)
	p.handled(a, p.time)
}

// handled remembers what an answer tells of its session.
func (p *partition) handled(a events.Answer, at events.Time) {
	if a.Session == 0 {
		return
	}
	s := p.sessions[a.Session]
	if s == nil {
		if len(p.sessions) >= maxSessions {
			p.forgetSession()
		}
		s = &session{}
		p.sessions[a.Session] = s
	}
	s.add(a.N)
	s.last = at
	p.recent.add(a)
}

// forgetSession forgets the session that was silent for longest.
func (p *partition) forgetSession() {
	var oldest events.SessionID
	for id, s := range p.sessions {
		if o := p.sessions[oldest]; o == nil || s.last < o.last || (s.last == o.last && id < oldest) {
			oldest = id
		}
	}
	delete(p.sessions, oldest)
}

// forgetIdleSessions forgets those that were silent for a day.
func (p *partition) forgetIdleSessions() {
	for id, s := range p.sessions {
		if p.time.Sub(s.last) > sessionIdle {
			delete(p.sessions, id)
		}
	}
}

type requestKey struct {
	run     events.RunID
	request events.RequestID
}

// keeps reports whether an answer is kept for repetitions of its request. Refusals are not: they changed nothing, and the
// request may be tried again. Starts are recognized by their run id, and asking changes nothing.
func keeps(a events.Answer) bool {
	return a.RequestID != "" && a.Code == events.OK && !a.Duplicate && a.Status == events.StatusUnknown
}

// asked returns the answer given before to the same request. One that names no run may have been done by an earlier run of
// the workflow id: when its answer was lost with a connection it comes again, and a newer run may have begun meanwhile. Who
// asks for a run with the id of a request is told the run that did it.
func (p *partition) asked(ctx context.Context, e *entry, env events.Envelope) (events.Answer, bool, error) {
	if env.RequestID == "" {
		return events.Answer{}, false, nil
	}
	if _, ok := env.Command.(events.StartWorkflow); ok {
		return events.Answer{}, false, nil
	}
	run := e.id
	for hops := 0; ; hops++ {
		kept, err := p.kept(ctx, requestKey{run, env.RequestID})
		if err != nil {
			return events.Answer{}, false, err
		}
		if kept != nil && p.time.Sub(kept.At) <= requestKept {
			a := kept.Answer
			a.RequestID, a.Session, a.N, a.Duplicate = env.RequestID, env.Session, env.N, true
			return a, true, nil
		}
		if !env.RunID.IsZero() {
			return events.Answer{}, false, nil
		}
		before, err := p.before(ctx, e, hops)
		if err != nil || before.IsZero() {
			return events.Answer{}, false, err
		}
		run = before
	}
}

// earlier is a run that another one of the workflow id followed, and when.
type earlier struct {
	run events.RunID
	at  events.Time
}

// before returns the nth run before a run, counted from 0; zero if there was none lately. What is read once is known then.
func (p *partition) before(ctx context.Context, e *entry, n int) (events.RunID, error) {
	if n == previousRuns {
		return events.RunID{}, nil
	}
	if n == len(e.before) && !e.first {
		run := e.id
		if n > 0 {
			run = e.before[n-1].run
		}
		previous, err := p.kept(ctx, requestKey{run, previousSlot})
		if err != nil {
			return events.RunID{}, err
		}
		if previous == nil {
			e.first = true
		} else {
			e.before = append(e.before, earlier{previous.Answer.RunID, previous.At})
		}
	}
	if n == len(e.before) || p.time.Sub(e.before[n].at) > requestKept {
		return events.RunID{}, nil
	}
	return e.before[n].run, nil
}

// follows remembers, beside the answers of a run that begins, which run of its workflow id preceded it.
func (p *partition) follows(run, previous events.RunID, at events.Time) {
	p.answers[requestKey{run, previousSlot}] = &runstore.KeptAnswer{Answer: events.Answer{RunID: previous}, At: at}
}

// kept returns an answer row as it will be after the next flush, nil if there is none.
func (p *partition) kept(ctx context.Context, k requestKey) (*runstore.KeptAnswer, error) {
	if kept, ok := p.answers[k]; ok {
		return kept, nil
	}
	if p.stored.lacks(k.run) { // its answers are written with its row
		return nil, nil
	}
	stored, ok, err := p.deps.Runs.Answer(ctx, p.id, k.run, k.request)
	if err != nil || !ok {
		return nil, err
	}
	kept := stored // what is returned is made only if there is something
	return &kept, nil
}

// keep remembers the answer to a request, and forgets the one that was kept requestsKept requests before. Beside each
// answer a row under the request's number modulo requestsKept names it, so that the old one is found.
func (p *partition) keep(ctx context.Context, e *entry, a events.Answer, at events.Time) error {
	slot := requestKey{e.id, events.RequestID(requestSlotPrefix + strconv.FormatUint(e.requests%requestsKept, 10))}
	if e.requests >= requestsKept {
		old, err := p.kept(ctx, slot)
		if err != nil {
			return err
		}
		if old != nil && old.Answer.RequestID != a.RequestID {
			p.answers[requestKey{e.id, old.Answer.RequestID}] = nil
		}
	}
	e.requests++
	if len(a.Message) > maxMessageBytes {
		a.Message = a.Message[:maxMessageBytes]
	}
	a.Session, a.N = 0, 0
	rows := &[2]runstore.KeptAnswer{{Answer: a, At: at}, {Answer: events.Answer{RequestID: a.RequestID}, At: at}}
	p.answers[requestKey{e.id, a.RequestID}], p.answers[slot] = &rows[0], &rows[1]
	return nil
}
