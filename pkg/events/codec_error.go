package events

import (
	"fmt"
	"strings"
)

// CorruptError says that bytes are not what an encoder of this package writes: they rotted, were cut, or are something
// else. Partition and Seq name the record as far as they could be read; Seq is 0 when not.
type CorruptError struct {
	Partition Partition
	Seq       Seq
	Reason    string
}

// Error says what is wrong, and where.
func (e *CorruptError) Error() string {
	if e.Seq == 0 {
		return "damaged message: " + e.Reason
	}
	return fmt.Sprintf("damaged record at partition %d, seq %d: %s", e.Partition, e.Seq, e.Reason)
}

// NewerSchemaError says that a newer version of the suite wrote a message in a language that this build does not read.
type NewerSchemaError struct {
	Partition Partition
	Seq       Seq    // 0 when the message is not a record
	Schema    uint32 // of the message
}

// Error says what to upgrade.
func (e *NewerSchemaError) Error() string {
	where := "the message"
	if e.Seq != 0 {
		where = fmt.Sprintf("the record at partition %d, seq %d", e.Partition, e.Seq)
	}
	return fmt.Sprintf("%s has schema %d and this build reads up to %d: upgrade continuo here to the version that wrote it", where, e.Schema, Schema)
}

// UnknownKindError says that an event, command or intent is of a kind that this build does not know.
type UnknownKindError struct {
	// What is "event", "command" or "intent".
	What string
	// Kind is its field number in the published oneof; 0 when it came by Name.
	Kind int
	// Name is the kind's name when it was read from JSON.
	Name string
	// Schema is that of the record or envelope it was found in; 0 when it stood alone.
	Schema uint32
	// Partition and Seq name the record; Seq is 0 when it was not in one.
	Partition Partition
	Seq       Seq
}

// Error says what to upgrade.
func (e *UnknownKindError) Error() string {
	var b strings.Builder
	if e.Kind != 0 {
		fmt.Fprintf(&b, "%s kind %d", e.What, e.Kind)
	} else {
		fmt.Fprintf(&b, "%s kind %.60q", e.What, e.Name)
	}
	if e.Seq != 0 {
		fmt.Fprintf(&b, " at partition %d, seq %d", e.Partition, e.Seq)
	}
	if e.Schema != 0 {
		fmt.Fprintf(&b, " (schema %d)", e.Schema)
	}
	b.WriteString(" is unknown to this build: upgrade ")
	switch e.What {
	case "event":
		b.WriteString("the reader to the version of the engine that wrote it")
	case "intent":
		b.WriteString("the engine to a version that knows the worker's SDK")
	default:
		b.WriteString("the engine to the version of the gateway that sent it")
	}
	return b.String()
}
