package post

import (
	"encoding/binary"
	"math"

	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/pkg/events"
)

func appendReport(b []byte, r *inbox.Report) []byte {
	b = appendList(b, r.Joined, appendWorker)
	b = appendList(b, r.Left, func(b []byte, id *events.WorkerID) []byte { return appendText(b, *id) })
	b = appendList(b, r.Running, appendRunning)
	b = appendList(b, r.Credits, appendCredit)
	b = appendList(b, r.Returned, appendRunning)
	b = appendList(b, r.Refused, appendRunning)
	b = appendList(b, r.Over, appendRunning)
	return appendList(b, r.Live, appendLive)
}

func readReport(r *reading, session events.SessionID) inbox.Report {
	out := inbox.Report{
		Session: session, Joined: list(r, readWorker), Left: list(r, text[events.WorkerID]), Running: list(r, readRunning), Credits: list(r, readCredit),
		Returned: list(r, readRunning), Refused: list(r, readRunning), Over: list(r, readRunning), Live: list(r, readLive),
	}
	for i := range out.Joined {
		out.Joined[i].Session = session
	}
	return out
}

func appendWorker(b []byte, w *inbox.Worker) []byte {
	b = appendText(b, w.ID)
	b = appendText(b, w.Identity)
	b = appendText(b, w.Build)
	b = appendText(b, w.SDK)
	b = appendText(b, w.Queue)
	b = appendList(b, w.Tasks, appendOffer)
	b = appendList(b, w.Workflows, appendOffer)
	b = binary.AppendVarint(b, int64(w.TaskSlots))
	b = binary.AppendVarint(b, int64(w.ActivationSlots))
	return binary.AppendVarint(b, int64(w.Since))
}

func readWorker(r *reading) inbox.Worker {
	return inbox.Worker{
		ID: text[events.WorkerID](r), Identity: text[string](r), Build: text[events.BuildID](r), SDK: text[string](r), Queue: text[events.TaskQueue](r),
		Tasks: list(r, readOffer), Workflows: list(r, readOffer), TaskSlots: int(r.signed()), ActivationSlots: int(r.signed()), Since: events.Time(r.signed()),
	}
}

func appendOffer(b []byte, o *inbox.Offer) []byte {
	return appendText(appendText(b, o.Name), o.Signature)
}

func readOffer(r *reading) inbox.Offer {
	return inbox.Offer{Name: text[string](r), Signature: text[string](r)}
}

func appendRunning(b []byte, n *inbox.Running) []byte {
	b = appendText(b, n.Worker)
	b = appendText(b, n.Namespace)
	b = appendText(b, n.WorkflowID)
	b = append(b, n.RunID[:]...)
	b = binary.AppendUvarint(b, uint64(n.Step))
	b = binary.AppendUvarint(b, n.Activation)
	return binary.AppendUvarint(b, uint64(n.Attempt))
}

func readRunning(r *reading) inbox.Running {
	return inbox.Running{
		Worker: text[events.WorkerID](r), Namespace: text[events.Namespace](r), WorkflowID: text[events.WorkflowID](r), RunID: r.run(),
		Step: events.Step(r.number()), Activation: r.number(), Attempt: events.Attempt(r.number()),
	}
}

func appendCredit(b []byte, c *inbox.Credit) []byte {
	b = appendText(b, c.Worker)
	b = binary.AppendVarint(b, int64(c.Tasks))
	return binary.AppendVarint(b, int64(c.Activations))
}

func readCredit(r *reading) inbox.Credit {
	return inbox.Credit{Worker: text[events.WorkerID](r), Tasks: int(r.signed()), Activations: int(r.signed())}
}

func appendLive(b []byte, l *inbox.Live) []byte {
	b = appendText(b, l.Worker)
	b = append(b, l.RunID[:]...)
	return appendBool(b, l.Evicted)
}

func readLive(r *reading) inbox.Live {
	return inbox.Live{Worker: text[events.WorkerID](r), RunID: r.run(), Evicted: r.byte() != 0}
}

// split returns a report in pieces that fit into items. Applied one after the other they are the same.
func split(whole inbox.Report) []inbox.Report {
	if len(appendReport(nil, &whole)) <= maxItemBytes {
		return []inbox.Report{whole}
	}
	s := splitting{session: whole.Session}
	for i := range whole.Joined {
		p := s.piece(len(appendWorker(nil, &whole.Joined[i])))
		p.Joined = append(p.Joined, whole.Joined[i])
	}
	for _, id := range whole.Left {
		p := s.piece(len(id) + binary.MaxVarintLen64)
		p.Left = append(p.Left, id)
	}
	s.running(whole.Running, func(p *inbox.Report) *[]inbox.Running { return &p.Running })
	for i := range whole.Credits {
		p := s.piece(len(appendCredit(nil, &whole.Credits[i])))
		p.Credits = append(p.Credits, whole.Credits[i])
	}
	s.running(whole.Returned, func(p *inbox.Report) *[]inbox.Running { return &p.Returned })
	s.running(whole.Refused, func(p *inbox.Report) *[]inbox.Running { return &p.Refused })
	s.running(whole.Over, func(p *inbox.Report) *[]inbox.Running { return &p.Over })
	for i := range whole.Live {
		p := s.piece(len(appendLive(nil, &whole.Live[i])))
		p.Live = append(p.Live, whole.Live[i])
	}
	return s.pieces
}

type splitting struct {
	session events.SessionID
	pieces  []inbox.Report
	bytes   int // of the last one
}

// piece returns where the next element of some bytes belongs.
func (s *splitting) piece(bytes int) *inbox.Report {
	if len(s.pieces) == 0 || s.bytes+bytes > maxItemBytes {
		s.pieces = append(s.pieces, inbox.Report{Session: s.session})
		s.bytes = 8 * binary.MaxVarintLen64 // the counts
	}
	s.bytes += bytes
	return &s.pieces[len(s.pieces)-1]
}

func (s *splitting) running(all []inbox.Running, of func(*inbox.Report) *[]inbox.Running) {
	for i := range all {
		into := of(s.piece(len(appendRunning(nil, &all[i]))))
		*into = append(*into, all[i])
	}
}

// join appends a piece to what came before it.
func join(whole *inbox.Report, piece *inbox.Report) {
	whole.Joined = append(whole.Joined, piece.Joined...)
	whole.Left = append(whole.Left, piece.Left...)
	whole.Running = append(whole.Running, piece.Running...)
	whole.Credits = append(whole.Credits, piece.Credits...)
	whole.Returned = append(whole.Returned, piece.Returned...)
	whole.Refused = append(whole.Refused, piece.Refused...)
	whole.Over = append(whole.Over, piece.Over...)
	whole.Live = append(whole.Live, piece.Live...)
}

// A report item has how many deliveries the session took in its epoch, and the report.
func reportItem(taken uint64, r *inbox.Report) item {
	return item{report, r.Session, appendReport(binary.AppendUvarint(nil, taken), r)}
}

func readReportItem(i item) (taken uint64, r inbox.Report, err error) {
	in := reading{b: i.body}
	taken = in.number()
	r = readReport(&in, i.session)
	return taken, r, in.err
}

func ackItem(session events.SessionID, taken uint64) item {
	return item{ack, session, binary.AppendUvarint(nil, taken)}
}

func readAck(i item) (taken uint64, err error) {
	in := reading{b: i.body}
	taken = in.number()
	return taken, in.err
}

// stateItem is the present state of a session or a piece of it.
type stateItem struct {
	process         uint64 // of the membership
	epoch           uint64
	received, taken uint64 // deliveries in the epoch
	begins          bool   // the epoch
	all             bool   // it answers whatever was asked: it is the first of the session, or questions may have been missed
	first, last     bool   // of the pieces
	answers         []answer
	report          inbox.Report
}

// answer names the last question of a life that a state answers.
type answer struct{ life, number uint64 }

const (
	firstPiece = 1 << iota
	lastPiece
	beginsEpoch
	answersAll
)

func (s *stateItem) item() item {
	b := binary.BigEndian.AppendUint64(nil, s.process)
	for _, n := range []uint64{s.epoch, s.received, s.taken} {
		b = binary.AppendUvarint(b, n)
	}
	flags := byte(0)
	for bit, set := range []bool{s.first, s.last, s.begins, s.all} {
		if set {
			flags |= 1 << bit
		}
	}
	b = appendList(append(b, flags), s.answers, func(b []byte, a *answer) []byte {
		return binary.AppendUvarint(binary.BigEndian.AppendUint64(b, a.life), a.number)
	})
	return item{state, s.report.Session, appendReport(b, &s.report)}
}

func readState(i item) (stateItem, error) {
	in := reading{b: i.body}
	s := stateItem{process: in.fixed(), epoch: in.number(), received: in.number(), taken: in.number()}
	flags := in.byte()
	s.first, s.last, s.begins, s.all = flags&firstPiece != 0, flags&lastPiece != 0, flags&beginsEpoch != 0, flags&answersAll != 0
	s.answers = list(&in, func(r *reading) answer { return answer{r.fixed(), r.number()} })
	s.report = readReport(&in, i.session)
	return s, in.err
}

// answered returns the last question of a life that the state answers; 0 for none.
func (s *stateItem) answered(life uint64) uint64 {
	if s.all {
		return math.MaxUint64
	}
	for _, a := range s.answers {
		if a.life == life {
			return a.number
		}
	}
	return 0
}

// A question asks a session of a life, all its sessions in the partition, or those of all lives, for the present state. The flag
// asks for a new epoch. Questions of a life are numbered.
func questionItem(life uint64, session events.SessionID, anew bool, number uint64) item {
	return item{question, session, binary.AppendUvarint(appendBool(binary.BigEndian.AppendUint64(nil, life), anew), number)}
}

func readQuestion(i item) (life uint64, anew bool, number uint64, err error) {
	in := reading{b: i.body}
	life, anew, number = in.fixed(), in.byte() != 0, in.number()
	return life, anew, number, in.err
}
