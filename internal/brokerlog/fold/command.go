package fold

import (
	"encoding/binary"

	"github.com/continuo-dev/continuo/internal/mutant"
	"github.com/continuo-dev/continuo/pkg/events"
)

// MaxCommandBytes bounds one encoded command.
const MaxCommandBytes = 2 << 20

// Command is one message of a commands log: an envelope of a client or gateway, or a command that a partition forwards.
//
//	content  bytes
//	      0      1  kind: 1 from outside, 2 forwarded
//	      1      2  partition
//	forwarded:
//	      3      2  source
//	      5      8  n
//	     13      8  confirmed
//	             body
type Command struct {
	Partition events.Partition
	// Forwarded tells a command from another partition; Source, N and Confirmed are set in those alone.
	Forwarded bool
	Source    events.Partition
	// N counts the commands from Source to this partition from 1.
	N uint64
	// Confirmed says up to which number the forwarder knew the commands to be in the log when it sent this one.
	Confirmed uint64
	// Body is an encoded envelope. It is not looked at here; what gateways stamp into it is the engine's to compare.
	Body []byte
}

const (
	kindOutside   = 1
	kindForwarded = 2
)

// AppendCommand appends the encoded command to dst.
func AppendCommand(dst []byte, c *Command) []byte {
	from, kind := len(dst), byte(kindOutside)
	if c.Forwarded {
		kind = kindForwarded
	}
	dst = append(begin(dst, "ctc"), kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(c.Partition))
	if c.Forwarded {
		dst = binary.BigEndian.AppendUint16(dst, uint16(c.Source))
		dst = binary.BigEndian.AppendUint64(dst, c.N)
		dst = binary.BigEndian.AppendUint64(dst, c.Confirmed)
	}
	return seal(append(dst, c.Body...), from)
}

// DecodeCommand reads a command, which aliases b. The error is a [DamageError] or a [NewerError].
func DecodeCommand(b []byte) (Command, error) {
	in, err := open(b, "ctc", "command")
	if err != nil {
		return Command{}, err
	}
	kind := in.u8()
	c := Command{Forwarded: kind == kindForwarded, Partition: events.Partition(in.u16())}
	if c.Forwarded {
		c.Source, c.N, c.Confirmed = events.Partition(in.u16()), in.u64(), in.u64()
	}
	switch {
	case kind != kindOutside && kind != kindForwarded:
		return Command{}, damaged("it is a command of unknown kind %d", kind)
	case in.short:
		return Command{}, damaged("a command is cut")
	case c.Forwarded && c.Confirmed >= c.N:
		return Command{}, damaged("it is command %d of its source and says that %d is confirmed", c.N, c.Confirmed)
	}
	c.Body = in.b
	return c, nil
}

// Intake is what an owner does with a command.
type Intake uint8

// The intakes.
const (
	// Handle: the engine gets it.
	Handle Intake = iota + 1
	// Repeated: it was handled before.
	Repeated
	// Early: an append before it failed; it comes again, in order.
	Early
	// Missing: one before it was in the log and is not there. Nothing more is taken from that source: an alarm. Other
	// sources and clients go on.
	Missing
)

// String returns the intake as one lower-case word.
func (i Intake) String() string {
	return [...]string{"none", "handle", "repeated", "early", "missing"}[i]
}

// intake says what to do with a command when those up to n of its source are handled.
func intake(c *Command, n uint64) Intake {
	switch {
	case !c.Forwarded:
		return Handle
	case c.N <= n && !mutant.On(mutant.RepeatedCommandTaken):
		return Repeated
	case c.N > n+1 && c.Confirmed > n && !mutant.On(mutant.LostCommandUnnoticed):
		return Missing
	case c.N > n+1 && !mutant.On(mutant.EarlyCommandTaken):
		return Early
	}
	return Handle
}
