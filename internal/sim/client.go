package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
	"github.com/continuo-dev/continuo/services/gateway/sessions"
)

// client starts one workflow and sees it to its end: it sends signals, asks to cancel, waits for the result. What it was
// told it keeps, for the auditor.
type client struct {
	w        *world
	workflow events.WorkflowID
	run      events.RunID
	program  int
	timeout  time.Duration
	policy   events.IDPolicy

	requests []*request
	sent     int  // signals
	fed      int  // signals of the calm
	acked    int  // requests with an answer
	over     bool // the run has ended, or there is none
	refused  bool // there is none, as far as the client was told
	waits    bool
}

// request is a command and what its sender was told.
type request struct {
	client  *client
	command events.Command
	id      events.RequestID
	run     events.RunID // zero: whatever is the newest
	tries   int
	asked   int64 // what the server's clock was ahead by then
	patient bool  // it is repeated until it is answered
	code    events.Code
	started bool
	done    bool
	then    func()
}

func (w *world) startClients() {
	names := w.tuning.workflows
	if w.tuning.features.has(fewNames) {
		names = max(1, names/3)
	}
	var at int64
	for i := range w.tuning.workflows {
		w.programs = append(w.programs, w.drawProgram())
		c := &client{w: w, workflow: events.WorkflowID(fmt.Sprintf("w%d", i%names)), program: i}
		var random [10]byte
		binary.BigEndian.PutUint64(random[2:], w.rng.Uint64())
		c.run = events.MakeRunID(epoch.UnixMilli()+int64(i), random)
		if w.tuning.features.has(withTimeouts) && w.rng.IntN(4) == 0 {
			c.timeout = time.Duration(1+w.rng.IntN(60)) * time.Second
		}
		if w.tuning.features.has(fewNames) {
			c.policy = events.IDPolicy(w.rng.IntN(4))
		}
		w.clients, w.starters[c.run] = append(w.clients, c), c
		if i%w.tuning.crowd == 0 {
			at = w.rng.Int64N(max(w.stormEnds*2/3, 1))
		}
		w.after(at, kindClient, c.start)
	}
}

func (c *client) start() {
	data, err := json.Marshal(input{Program: c.program})
	if err != nil {
		panic(err)
	}
	c.w.tracef("client of %s starts run %s: %s", c.workflow, c.run, c.w.programs[c.program])
	r := &request{client: c, run: c.run, patient: true, command: events.StartWorkflow{
		Type: "sim.Flow", Queue: events.DefaultTaskQueue, Input: events.Payload{Encoding: "json", Data: data}, IDPolicy: c.policy, RunTimeout: c.timeout,
	}}
	r.then = func() {
		if !r.started && c.w.audit.runs[c.run] == nil {
			c.over, c.refused = true, true // a run of that id was in the way
			return
		}
		c.await()
		c.live()
	}
	c.send(r)
}

// began is told of the first record of the client's run. A refusal of a start is not remembered: a copy of it that was sent
// earlier, or came later, may begin the run when nothing is in the way any more. Its client finds out and goes on with it.
func (c *client) began() {
	if !c.refused {
		return
	}
	c.refused = false
	c.w.after(second, kindClient, func() {
		c.over = false
		c.await()
		c.live()
	})
}

// live does now and then what clients do to a run.
func (c *client) live() {
	w := c.w
	if c.over {
		return
	}
	if w.calm {
		// What still waits for signals gets them: one of each name, then again, and ever more seldom.
		c.fed++
		w.after(2*second+int64(c.fed*c.fed)*second/20, kindClient, func() {
			if !c.over {
				c.signal(true)
				c.live()
			}
		})
		return
	}
	w.later(w.rng.Int64N(second), kindClient, (*living)(c))
}

// living is a client that does something to its run in the storm.
type living client

func (l *living) happen() {
	c := (*client)(l)
	w := c.w
	if c.over {
		return
	}
	f := w.tuning.features
	switch n := w.rng.IntN(20); {
	case n < 12 && f.has(withSignals):
		c.burst()
	case n == 12 && f.has(withCancels):
		c.send(c.request(events.CancelWorkflow{Reason: "the client wants it"}, true))
	case n == 13 && f.has(withCancels) && w.rng.IntN(3) == 0:
		c.send(c.request(events.TerminateWorkflow{Reason: "the client orders it"}, true))
	case n < 16:
		c.send(c.request(events.GetRun{}, false))
	}
	c.live()
}

func (c *client) request(command events.Command, patient bool) *request {
	r := &request{client: c, command: command, run: c.run, patient: patient}
	if _, asks := command.(events.GetRun); !asks {
		r.id = events.RequestID("r" + strconv.Itoa(len(c.requests)))
	}
	return r
}

// burst sends as many signals as the seed wants at one moment, as seldom as they are many: to the client's run, or one to it
// and one to each of those that come after it.
func (c *client) burst() {
	w := c.w
	n := w.tuning.burst
	if w.rng.IntN(n) > 0 {
		return
	}
	many := n > 1 && w.rng.IntN(3) > 0
	for i := range n {
		to := c
		if many {
			to = w.clients[(c.program+i)%len(w.clients)]
		}
		patient := w.rng.IntN(3) > 0
		if !to.over && (to == c || to.waits) {
			to.signal(patient)
		}
	}
}

// signal sends the next signal. Those of the calm take turns between the names, and tell who collects to stop.
func (c *client) signal(patient bool) {
	w := c.w
	name := w.rng.IntN(2)
	value := int64(1 + c.sent)
	if w.calm {
		name = c.sent % 2
		if w.programs[c.program].collects {
			name, value = 0, stopCollecting
		}
	}
	c.sent++
	c.send(c.request(events.SignalWorkflow{
		Name: [2]events.SignalName{"sim.A", "sim.B"}[name], Input: events.Payload{Encoding: "json", Data: strconv.AppendInt(nil, value, 10)},
	}, patient))
}

// patience is how long a client waits for an answer.
const patience = 5 * second

// send asks a gateway, and asks again when no answer comes.
func (c *client) send(r *request) {
	if r.tries == 0 {
		c.requests = append(c.requests, r)
		r.asked = c.w.clockGuilt
	}
	r.tries++
	w := c.w
	t := &try{request: r, n: r.tries}
	w.later(w.latency(), kindMessage, (*asking)(t))
	w.later(patience, kindClient, (*waiting)(t))
}

// try is one of the times that a request is sent, from the question to the answer.
type try struct {
	request *request
	n       int // the request's tries then
	gateway *gateway
	call    sessions.Call
	reply   sessions.Output // a sessions.Reply, once there is one
}

// last reports whether the request was not sent again since.
func (t *try) last() bool { return !t.request.done && t.request.tries == t.n }

// asking is a question that comes to a gateway, waiting its client that gives up waiting, answering an answer that comes to
// the client, and repeating a client that asks again.
type (
	asking    try
	waiting   try
	answering try
	repeating try
)

func (a *asking) happen() { (*try)(a).ask() }

func (a *waiting) happen() { (*try)(a).again() }

func (a *answering) happen() { a.request.client.answered((*try)(a)) }

func (a *repeating) happen() { (*try)(a).again() }

func (t *try) again() {
	if t.last() {
		t.request.client.again(t.request)
	}
}

func (c *client) again(r *request) {
	if c.over && r.run == c.run && r.then == nil {
		return
	}
	if c.w.clockGuilt-r.asked > 12*hour {
		// By the server's clock that was long ago: what is remembered of requests and ended runs is forgotten, and nobody
		// repeats a request then.
		r.done = true
		if r.then != nil {
			c.w.after(minute, kindClient, func() {
				r.started = c.w.audit.runs[c.run] != nil
				r.then()
			})
		}
		return
	}
	if !r.patient && r.tries > 1 {
		return // it gives up: nobody knows what became of it
	}
	c.send(r)
}

func (t *try) ask() {
	r, c := t.request, t.request.client
	w := c.w
	if w.server == nil || r.done {
		return
	}
	w.nextCall++
	t.gateway, t.call = w.server.gateways[w.rng.IntN(len(w.server.gateways))], sessions.Call(w.nextCall)
	t.gateway.calls[t.call] = t
	t.gateway.post(sessions.Ask{Call: t.call, Envelope: events.Envelope{
		Namespace: events.DefaultNamespace, WorkflowID: c.workflow, RunID: r.run, RequestID: r.id, Command: r.command,
	}})
}

// hear is told what the gateway answers.
func (t *try) hear(out sessions.Output) {
	w := t.request.client.w
	if _, ok := out.(sessions.Reply); !ok {
		return
	}
	delete(t.gateway.calls, t.call)
	if w.fault(LoseAnswers, 15) {
		return
	}
	t.reply = out
	w.later(w.latency(), kindMessage, (*answering)(t))
}

func (c *client) answered(t *try) {
	w, r := c.w, t.request
	reply, _ := t.reply.(sessions.Reply)
	if reply.Err != nil {
		// The more often it was refused, the longer it waits.
		w.later(w.rng.Int64N(500*millisecond*int64(min(r.tries, 10))), kindClient, (*repeating)(t))
		return
	}
	a := reply.Answer
	if a.Code == events.Accepted {
		// It was handled, and its answer is no longer there: asking again with the same ids brings it.
		if r.tries == t.n {
			c.again(r)
		}
		return
	}
	w.audit.answered(r, a)
	if r.done {
		return
	}
	r.done, r.code, r.started = true, a.Code, a.Started
	c.acked++
	if w.tracing() {
		w.tracef("client of %s: %s %s is answered %s", c.workflow, events.CommandName(r.command), r.id, a.Code)
	}
	if r.then != nil {
		r.then()
	}
}

// broken leaves it to the client's patience to ask again.
func (t *try) broken() {}

// await waits for the end of the run, as the gateway's shell does: the ring of runs that ended lately, then the read model,
// then the engine.
func (c *client) await() {
	w := c.w
	if c.over || c.waits {
		return
	}
	if w.server == nil {
		w.after(second, kindClient, c.await)
		return
	}
	c.waits = true
	w.nextCall++
	a := &awaiting{
		client: c, gateway: w.server.gateways[w.rng.IntN(len(w.server.gateways))], call: sessions.Call(w.nextCall), partition: w.partitionOf(c.workflow),
	}
	a.gateway.calls[a.call] = a
	a.gateway.post(sessions.Await{Call: a.call, Partition: a.partition, WorkflowID: c.workflow, RunID: c.run})
}

// awaiting is a client's wait at a gateway.
type awaiting struct {
	client    *client
	gateway   *gateway
	call      sessions.Call
	partition events.Partition
}

func (a *awaiting) hear(out sessions.Output) {
	switch out := out.(type) {
	case sessions.Waiting:
		if !out.Open {
			a.lookUp(out.From)
		}
	case sessions.RunOver:
		delete(a.gateway.calls, a.call)
		if out.Err != nil {
			a.broken()
			return
		}
		a.client.ended(out.Run.Event, out.Run.Status)
	default: // a wait has no other answers
	}
}

// broken lets the client wait again.
func (a *awaiting) broken() {
	c := a.client
	c.w.after(c.w.rng.Int64N(second), kindClient, func() {
		c.waits = false
		c.await()
	})
}

// lookUp asks for the end of a run that came before the gateway's memory of ends.
func (a *awaiting) lookUp(from events.Seq) {
	c := a.client
	w := c.w
	row, err := w.model.Run(w.ctx, events.DefaultNamespace, c.workflow, c.run)
	if err == nil && !row.Status.Open() {
		a.endedBefore()
		return
	}
	if err == nil {
		marks, _ := w.model.Watermark(w.ctx)
		for _, at := range marks {
			if at.Partition == a.partition && at.Next >= from {
				return // the row is right: it is open, and its end will be heard
			}
		}
	}
	w.after(w.latency(), kindMessage, func() {
		if c.over || a.gateway.dead {
			return
		}
		w.nextCall++
		call := sessions.Call(w.nextCall)
		a.gateway.calls[call] = &lookingUp{awaiting: a, call: call, from: from}
		a.gateway.post(sessions.Ask{Call: call, Envelope: events.Envelope{
			Namespace: events.DefaultNamespace, WorkflowID: c.workflow, RunID: c.run, Command: events.GetRun{},
		}})
	})
}

// endedBefore is told that the run ended long ago.
func (a *awaiting) endedBefore() {
	a.gateway.post(sessions.Forget{Call: a.call})
	a.client.endedBefore()
}

// lookingUp is a question of the engine whether a run has ended.
type lookingUp struct {
	*awaiting
	call sessions.Call
	from events.Seq
}

func (l *lookingUp) hear(out sessions.Output) {
	delete(l.gateway.calls, l.call)
	reply, ok := out.(sessions.Reply)
	switch {
	case !ok || l.client.over:
	case reply.Err != nil:
		l.client.w.after(second, kindClient, func() { l.lookUp(l.from) })
	case reply.Answer.Code == events.NotFound || reply.Answer.Ended != 0:
		l.endedBefore()
	}
}

// broken leaves it to the wait that it is part of.
func (l *lookingUp) broken() {}

// endedBefore reads the end from the history.
func (c *client) endedBefore() {
	records := c.w.history(c.w.partitionOf(c.workflow), c.run, 1, 0)
	for _, r := range records {
		for _, e := range r.Events {
			if events.EndsRun(e) {
				c.ended(e, events.StatusAfter(events.StatusRunning, e))
				return
			}
		}
	}
	if records == nil && c.w.audit.purged(c.run) || c.w.audit.again[c.run] {
		c.over = true // its retention is over: it is forgotten as a whole, or was, and began again since
		return
	}
	c.w.violate("results", "run %s of %s is said to have ended, and its history has no end", c.run, c.workflow)
	c.over = true
}

func (c *client) ended(e events.Event, status events.Status) {
	if c.over {
		return
	}
	c.over = true
	c.w.tracef("client of %s is told: %s", c.workflow, status)
	c.w.audit.told(c, e, status)
}
