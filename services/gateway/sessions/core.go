package sessions

import (
	"slices"
	"time"

	"github.com/continuo-dev/continuo/pkg/events"
)

// Config are the numbers a Core works with. Zero fields get the defaults named here.
type Config struct {
	// Session stamps commands; it is never 0.
	Session events.SessionID
	// Partitions is the number of partitions of the log.
	Partitions int
	// Grace is how long a worker whose stream broke may take to come back; 5 s.
	Grace time.Duration
	// ActivationDeadline bounds an activation from its delivery or last heartbeat; 10 s.
	ActivationDeadline time.Duration
	// Stall is how late a turn may be. A later one says that this process did not run, and what workers sent meanwhile
	// lies unread: deadlines wait for as long again, so that they are heard first; 1 s.
	Stall time.Duration
	// SaveHeartbeats is the least time between two details of one attempt that are made durable; 10 s.
	SaveHeartbeats time.Duration
	// MaxCalls bounds the clients' calls that wait for an answer or for the end of a run; 100,000.
	MaxCalls int
	// RingRuns and RingBytes bound what is remembered of runs that ended lately; 65,536 and 64 MiB.
	RingRuns  int
	RingBytes int
}

func (c *Config) setDefaults() {
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.ActivationDeadline <= 0 {
		c.ActivationDeadline = 10 * time.Second
	}
	if c.Stall <= 0 {
		c.Stall = time.Second
	}
	if c.SaveHeartbeats <= 0 {
		c.SaveHeartbeats = 10 * time.Second
	}
	if c.MaxCalls <= 0 {
		c.MaxCalls = 100_000
	}
	if c.RingRuns <= 0 {
		c.RingRuns = 1 << 16
	}
	if c.RingBytes <= 0 {
		c.RingBytes = 64 << 20
	}
}

// Core is the state of one gateway. It is used by one goroutine.
type Core struct {
	config Config
	now    events.Time

	conns       map[Conn]*worker
	workers     map[events.WorkerID]*worker
	tasks       map[events.TaskID]*task
	activations map[events.RunID]*activation
	runs        map[events.RunID]*heldRun
	cancelled   *fifo[events.TaskID, struct{}]

	lanes   []lane
	spare   []*pending // room for commands
	asks    map[Call]*pending
	waiters map[Call]*waiter
	waiting map[events.RunID][]Call
	ended   endedRing
	started *fifo[events.RunID, events.WorkflowID]

	// young are the attempts that may have to be told of, oldest first, from youngest on. Entries that are over stay until
	// they are the first.
	young          []begun
	youngest       int
	taken, refused uint64

	deadlines deadlines
	// hearing is until when no deadline counts, because the process did not run when it should have.
	hearing events.Time
	out     []Output
	report  Report
}

// New makes a Core.
func New(config Config) *Core {
	config.setDefaults()
	c := &Core{
		config:      config,
		conns:       make(map[Conn]*worker),
		workers:     make(map[events.WorkerID]*worker),
		tasks:       make(map[events.TaskID]*task),
		activations: make(map[events.RunID]*activation),
		runs:        make(map[events.RunID]*heldRun),
		cancelled:   newFIFO[events.TaskID, struct{}](4096),
		asks:        make(map[Call]*pending),
		lanes:       make([]lane, config.Partitions),
		waiters:     make(map[Call]*waiter),
		waiting:     make(map[events.RunID][]Call),
		started:     newFIFO[events.RunID, events.WorkflowID](config.RingRuns),
	}
	for p := range c.lanes {
		c.lanes[p].open = make(map[uint64]*pending)
	}
	c.ended.runs = make(map[events.RunID]Ended)
	c.ended.from = make([]events.Seq, config.Partitions)
	return c
}

// Turn handles inputs in order and then what has become due by now, and returns what is to be done, in order. The result
// is valid until the next Turn.
func (c *Core) Turn(now events.Time, in []Input) []Output {
	c.now = max(c.now, now)
	if due := c.deadlines.next(); due > c.hearing && due.Add(c.config.Stall) < c.now {
		c.hearing = c.now.Add(c.config.Stall)
	}
	c.out = c.out[:0]
	for _, i := range in {
		c.handle(i)
	}
	c.expire()
	c.tell()
	c.flushReport()
	return c.out
}

// Wake returns when the next Turn is needed at the latest; 0 means only when there is input.
func (c *Core) Wake() events.Time {
	next := c.deadlines.next()
	if next != 0 {
		next = max(next, c.hearing)
	}
	if at := c.tellAt(); at != 0 && (next == 0 || at < next) {
		next = at
	}
	return next
}

// Stats are numbers for metrics.
type Stats struct {
	Workers, Tasks, Activations int
	// Calls wait for an answer, Waiters for the end of a run.
	Calls, Waiters int
	// Unanswered are commands sent and not seen in the log yet, those of workers included.
	Unanswered int
	// OffersTaken and OffersRefused count, since the start, what the log offered to this gateway.
	OffersTaken, OffersRefused uint64
}

// Stats returns numbers for metrics.
func (c *Core) Stats() Stats {
	s := Stats{
		Workers: len(c.conns), Tasks: len(c.tasks), Activations: len(c.activations), Calls: len(c.asks), Waiters: len(c.waiters),
		OffersTaken: c.taken, OffersRefused: c.refused,
	}
	for p := range c.lanes {
		s.Unanswered += len(c.lanes[p].open)
	}
	return s
}

func (c *Core) handle(in Input) {
	switch in := in.(type) {
	case Join:
		c.join(in)
	case Grant:
		c.grant(in)
	case Drain:
		c.drain(in)
	case Leave:
		c.leave(in)
	case Delivery:
		c.deliver(in)
	case Started:
		c.taskStarted(in)
	case NotStarted:
		c.taskNotStarted(in)
	case ActivationStarted:
		c.activationStarted(in)
	case ActivationNotStarted:
		c.activationNotStarted(in)
	case Heartbeat:
		c.heartbeat(in)
	case ActivationHeartbeat:
		c.activationHeartbeat(in)
	case TaskDone:
		c.taskDone(in)
	case ActivationDone:
		c.activationDone(in)
	case Evicted:
		c.evicted(in)
	case Recorded:
		c.recorded(in.Record)
	case TailFrom:
		c.tailFrom(in)
	case Ask:
		c.ask(in)
	case Await:
		c.await(in)
	case Forget:
		c.forget(in.Call)
	case SendResult:
		c.sendResult(in)
	case Inspect:
		c.inspect(in)
	}
}

func (c *Core) emit(o Output) { c.out = append(c.out, o) }

// flushReport emits what is to be told to the schedulers.
func (c *Core) flushReport() {
	c.report.Credits = slices.DeleteFunc(c.report.Credits, func(credit Credit) bool {
		return (credit.Tasks == 0 && credit.Activations == 0) || slices.Contains(c.report.Left, credit.Worker)
	})
	if c.report.empty() {
		return
	}
	c.emit(c.report)
	c.report = Report{}
}
