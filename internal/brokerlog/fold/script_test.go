package fold_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	"github.com/continuo-dev/continuo/pkg/events"
)

// Each line is one thing that happens to one partition, and its outcome is printed. testdata/scripts has a script for each
// topic, and line has the verbs.
func TestScripts(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := newScript()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				s = newScript()
			}
			var b strings.Builder
			for line := range strings.Lines(d.Input) {
				if line = strings.TrimSpace(line); line != "" {
					fmt.Fprintf(&b, "%s\n", s.line(t, line))
				}
			}
			return b.String()
		})
	})
}

var ours = fold.Identity{Cluster: "ours", Partitions: 3}

// script is one partition, 0, with a reader, perhaps a writer beside it, and a forwarder.
type script struct {
	state     *fold.State
	writer    *fold.Writer
	forwarder *fold.Forwarder
	tickets   map[string]fold.Ticket
	made      [][]byte // by the writer, in order
	entry     uint64
	commands  uint64
}

func newScript() *script {
	return &script{state: fold.NewState(0), forwarder: fold.NewForwarder(fold.NewState(0), nil), tickets: map[string]fold.Ticket{}}
}

type words map[string]string

func (w words) number(name string) uint64 {
	n, _ := strconv.ParseUint(w[name], 10, 64)
	return n
}

// line does what a line says: a verb and name=value pairs.
//
//	open epoch owner confirmed [cluster partitions]     an opening is read
//	rec epoch owner confirmed first n [take send in]    a frame of records is read; take and send are partition:number
//	junk, newer, back                                   bytes of somebody else; a newer version; a position again
//	save                                                the reader goes on from its checkpoint
//	writer id                                           a writer begins on what the reader knows
//	w-open, w-append n [consume send]                   it makes a frame
//	w-read i                                            frame i that it made is in the log now; all read it
//	w-fail, w-command [src n confirmed]                 a send failed; a command is read
//	next to, ack to n, fail to n, f-save                the forwarder
func (s *script) line(t *testing.T, line string) string {
	fields := strings.Fields(line)
	w := words{}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		w[k] = v
	}
	switch verb := fields[0]; {
	case strings.HasPrefix(verb, "w-") || verb == "writer":
		return s.write(t, verb, w)
	case verb == "open":
		log := ours
		if w["cluster"] != "" {
			log.Cluster = w["cluster"]
		}
		if w["partitions"] != "" {
			log.Partitions = uint16(w.number("partitions"))
		}
		return s.read(fold.AppendFrame(nil, &fold.Frame{
			Open: true, Epoch: w.number("epoch"), Owner: events.OwnerID(w.number("owner")), Confirmed: events.Seq(w.number("confirmed")), Log: log,
		}))
	case verb == "rec":
		return s.read(fold.AppendFrame(nil, frame(w)))
	case verb == "junk":
		return s.read([]byte("hello from another program"))
	case verb == "newer":
		return s.read([]byte("ctf\x02 something"))
	case verb == "back":
		s.entry--
		return s.read(fold.AppendFrame(nil, frame(words{"epoch": "1", "owner": "1", "first": "1", "n": "1"})))
	case verb == "save":
		state, _, err := fold.DecodeCheckpoint(fold.AppendCheckpoint(nil, s.state, nil))
		if err != nil {
			t.Fatal(err)
		}
		s.state = state
		return s.known("saved")
	default:
		return s.forward(verb, w)
	}
}

func frame(w words) *fold.Frame {
	f := &fold.Frame{
		Epoch: w.number("epoch"), Owner: events.OwnerID(w.number("owner")), Confirmed: events.Seq(w.number("confirmed")),
		First: events.Seq(w.number("first")), Count: uint32(w.number("n")), In: fold.Position{Segment: 1, Entry: w.number("in")},
	}
	if p, n, ok := pair(w["take"]); ok {
		f.Taken = []fold.Counter{{Partition: p, N: n}}
	}
	if p, n, ok := pair(w["send"]); ok {
		f.Sent = []fold.Forward{{To: p, N: n, Body: []byte("command")}}
	}
	f.Records = events.AppendFrame(nil, records(f.First, int(f.Count))...)
	return f
}

func pair(text string) (events.Partition, uint64, bool) {
	a, b, ok := strings.Cut(text, ":")
	p, _ := strconv.Atoi(a)
	n, _ := strconv.ParseUint(b, 10, 64)
	return events.Partition(p), n, ok
}

func records(first events.Seq, n int) []*events.Record {
	var rs []*events.Record
	for i := range n {
		rs = append(rs, &events.Record{Header: events.Header{Seq: first + events.Seq(i), Schema: events.Schema}})
	}
	return rs
}

// read lets everybody read the next message.
func (s *script) read(b []byte) string {
	s.entry++
	m := fold.Message{At: fold.Position{Segment: 1, Entry: s.entry}, Body: b}
	v, _ := s.state.Read(m)
	s.forwarder.Read(m)
	text := s.known(v.String())
	if s.writer != nil {
		s.writer.Read(m)
		text += "; " + s.wrote()
	}
	return text
}

func (s *script) known(what string) string {
	if h := s.state.Halt(); h != nil {
		return "halted: " + h.Error()
	}
	epoch, owner := s.state.Epoch()
	text := fmt.Sprintf("%s: epoch %d of %d, seq %d", what, epoch, owner, s.state.Seq())
	if s.state.Broken() {
		text += ", broken"
	}
	return text
}

func (s *script) wrote() string {
	text := fmt.Sprintf("writer: confirmed %d, in flight %d", s.writer.Confirmed(), s.writer.InFlight())
	if s.writer.Active() {
		text += ", active"
	}
	if err := s.writer.Err(); err != nil {
		text += ", ended: " + err.Error()
	}
	return text
}

func (s *script) write(t *testing.T, verb string, w words) string {
	switch verb {
	case "writer":
		s.writer, s.made = fold.NewWriter(s.state.Clone(), events.OwnerID(w.number("id"))), nil
	case "w-open":
		b, err := s.writer.Open(ours)
		if err != nil {
			return err.Error()
		}
		s.made = append(s.made, b)
		return "made frame " + strconv.Itoa(len(s.made))
	case "w-append":
		step := fold.Step{Records: records(s.writer.Next(), int(w.number("n"))), Consumed: int(w.number("consume"))}
		if to, _, ok := pair(w["send"]); ok {
			step.Sent = []fold.Forward{{To: to, Body: []byte("command")}}
		}
		b, err := s.writer.Append(step)
		switch {
		case err != nil:
			return err.Error()
		case b == nil:
			return "nothing to append"
		}
		s.made = append(s.made, b)
		f, err := fold.DecodeFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("made frame %d: records %d…%d, confirmed %d, in %v, taken %v, sends %d", len(s.made), f.First, f.Last(), f.Confirmed, f.In, f.Taken, len(f.Sent))
	case "w-read":
		return s.read(s.made[w.number("i")-1])
	case "w-fail":
		s.writer.Fail(errors.New("timed out"))
	case "w-command":
		s.commands++
		c := fold.Command{Forwarded: w["src"] != "", Source: events.Partition(w.number("src")), N: w.number("n"), Confirmed: w.number("confirmed")}
		_, what, err := s.writer.Take(fold.Message{At: fold.Position{Segment: 1, Entry: s.commands}, Body: fold.AppendCommand(nil, &c)})
		if err != nil {
			return err.Error()
		}
		return what.String()
	default:
		t.Fatalf("unknown verb %s", verb)
	}
	return s.wrote()
}

func (s *script) forward(verb string, w words) string {
	to := events.Partition(w.number("to"))
	switch ticket := s.tickets[w["ticket"]]; verb {
	case "next":
		b, ticket, ok := s.forwarder.Next(to)
		if !ok {
			return "nothing to send"
		}
		c, err := fold.DecodeCommand(b)
		if err != nil {
			return err.Error()
		}
		name := strconv.Itoa(len(s.tickets) + 1)
		s.tickets[name] = ticket
		return fmt.Sprintf("ticket %s: command %d to %d, confirmed %d", name, c.N, c.Partition, c.Confirmed)
	case "ack":
		s.forwarder.Acked(ticket)
	case "fail":
		s.forwarder.Failed(ticket)
	case "f-save":
		state, acked, ok := s.forwarder.Checkpoint()
		if !ok {
			return "no checkpoint"
		}
		return fmt.Sprintf("checkpoint at %s, acknowledged %v", state.At(), acked)
	default:
		return "unknown verb " + verb
	}
	return fmt.Sprintf("idle %v", s.forwarder.Idle())
}
