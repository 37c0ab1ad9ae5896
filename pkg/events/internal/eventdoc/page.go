// Package eventdoc makes docs/reference/events.md from the catalog and the doc comments of pkg/events. Its test keeps the
// page fresh; `go generate ./pkg/events` writes it.
package eventdoc

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/continuo-dev/continuo/pkg/events"
)

const intro = `# The language: commands, events, records

This page is generated from the code (` + "`go generate ./pkg/events`" + `). The wire format is published in
[events.proto](../../proto/continuo/events/v1/events.proto); field names below are those of the schema.

Whoever wants something to change sends a **command**. Only the engine writes **events**, in **records**, one for each run
and batch of commands. Everybody else reads records. A command that is refused or repeated leaves an **answer** in its
record too, with a code of [errors.md](errors.md). **Intents** are what workflow code did, inside the command ` + "`ReportProgress`" + `. **Effects** are derived from
records and never written.

Fields that end in ` + "`_us`" + ` are microseconds since 1970-01-01 UTC, those in ` + "`_ns`" + ` nanoseconds; zero means "none" everywhere.
Steps, attempts, indexes and event numbers count from 1. The numbers of kinds and fields are frozen.
`

const forms = `
## Frames

Records travel and are stored in frames: a frame carries records of one partition in ascending order, accepted or refused
as a whole. In front of each record stands a prefix of 44 bytes, by which a reader finds what concerns it without decoding
the rest. Numbers are big-endian.

| offset | bytes | |
|---:|---:|---|
| 0 | 1 | version of the frame: 1 |
| 1 | 1 | flags: 1 has events, 2 has answers, 4 ends the run, 8 asks something of the world, 16 offers a task or an activation; other bits mean nothing |
| 2 | 2 | partition |
| 4 | 2 | schema of the record |
| 6 | 2 | records that follow in the frame |
| 8 | 8 | seq |
| 16 | 16 | run id |
| 32 | 4 | length of the body |
| 36 | 4 | CRC-32C of the body |
| 40 | 4 | CRC-32C of bytes 0 to 39 |
| 44 | | the body: a ` + "`Record`" + ` message |

## Versions

A reader refuses a record whose ` + "`schema`" + ` is above its own before it looks at anything else, and a kind that it does not
know; both errors say what to upgrade. Fields that it does not know it keeps, and writes them again. New fields come
without a new schema; new kinds come with one.

## Histories as JSON

` + "`continuo workflow history --output json`" + ` and the REST form of a history give one document: a line for each record and each
event. ` + "`flowtest.Replay`" + ` reads it.

- ` + "`format`" + ` is ` + "`continuo.history.v1`" + `; ` + "`namespace`, `workflow_id`, `run_id`, `type` and `status`" + ` say whose history it is.
- ` + "`records`" + ` have the header of the record and its ` + "`events`" + `; answers are not part of a history.
- An event has its ` + "`number`" + ` in the history and its ` + "`kind`" + `, then its fields by their names in the schema, zero values left out.
- Moments lose the ` + "`_us`" + ` and are RFC 3339 in UTC with microseconds. Durations end in ` + "`_ms`" + ` and are milliseconds, with decimals
  where they are not whole. Numbers are JSON numbers of up to 64 bits; enumerations are their numbers.
- A payload is ` + "`{\"json\": value}`, `{\"encoding\": name, \"data\": base64}` or `{\"encoding\": name, \"blob\": key, \"blob_bytes\": size}`" + `.
- Members and kinds that a reader does not know are errors: replaying without them could go wrong in silence.
`

// Page returns the reference page of the language whose source is in dir.
func Page(dir string) ([]byte, error) {
	source, err := read(dir)
	if err != nil {
		return nil, err
	}
	p := page{source: source}
	p.WriteString(intro)
	p.section("Records", "", []entry{{"Header", events.Header{}}, {"Record", events.Record{}}, {"Answer", events.Answer{}}})
	p.section("Events", "event", entries(events.EventKinds()))
	p.section("Commands", "command", append([]entry{{"Envelope", events.Envelope{}}}, entries(events.CommandKinds())...))
	p.section("Intents", "intent", entries(events.IntentKinds()))
	p.section("Effects", "", entries(events.EffectKinds()))
	p.section("Values", "", []entry{
		{"Payload", events.Payload{}},
		{"Failure", events.Failure{}},
		{"TaskOptions", events.TaskOptions{}},
		{"RetryPolicy", events.RetryPolicy{}},
		{"WaitSet", events.WaitSet{}},
		{"WaitGroup", events.WaitGroup{}},
		{"SignalWait", events.SignalWait{}},
		{"SignalRead", events.SignalRead{}},
		{"TimerID", events.TimerID{}},
	})
	p.constants("Failures: codes of the suite", source.constantsNamed("Code"))
	p.WriteString(forms)
	return p.Bytes(), p.err
}

// entry is a type of the page.
type entry struct {
	name string
	zero any
}

func entries[T any](kinds []events.Kind[T]) []entry {
	var all []entry
	for _, k := range kinds {
		all = append(all, entry{k.Name, k.Zero})
	}
	return all
}

type page struct {
	bytes.Buffer
	source *source
	err    error
}

// section writes the types; those that are a kind of a oneof with their number.
func (p *page) section(title, kind string, all []entry) {
	fmt.Fprintf(p, "\n## %s\n", title)
	for _, e := range all {
		doc, ok := p.source.types[e.name]
		if !ok {
			p.err = fmt.Errorf("the type %s has no doc comment", e.name)
			return
		}
		fmt.Fprintf(p, "\n### %s\n\n", e.name)
		if n := numberOf(e.zero); n > 0 && kind != "" {
			fmt.Fprintf(p, "Kind %d. ", n)
		}
		fmt.Fprintf(p, "%s\n", markdown(doc))
		p.fields(e)
	}
}

func numberOf(zero any) int {
	switch v := zero.(type) {
	case events.Event:
		return events.EventKind(v)
	case events.Command:
		return events.CommandKind(v)
	case events.Intent:
		return events.IntentKind(v)
	default:
		return 0
	}
}

func (p *page) fields(e entry) {
	t := reflect.TypeOf(e.zero)
	if t.NumField() == 0 {
		return
	}
	p.WriteString("\n| field | type | |\n|---|---|---|\n")
	for f := range t.Fields() {
		if f.Name == "Unknown" {
			continue
		}
		name := "`" + snake(f.Name) + unit(f.Type.String()) + "`"
		if f.Anonymous {
			name = "(those of " + f.Name + ")"
		}
		fmt.Fprintf(p, "| %s | %s | %s |\n", name, typeOf(f.Type), markdown(p.source.fields[e.name+"."+f.Name]))
	}
}

func (p *page) constants(title string, all []constant) {
	fmt.Fprintf(p, "\n## %s\n\n| code | |\n|---|---|\n", title)
	for _, c := range all {
		fmt.Fprintf(p, "| `%s` | %s |\n", c.value, markdown(c.doc))
	}
}

// typeOf names a type as a reader of the schema would.
func typeOf(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		return "list of " + typeOf(t.Elem())
	case t.Kind() == reflect.Slice:
		return "bytes"
	case t.Kind() == reflect.Pointer:
		return typeOf(t.Elem()) + ", optional"
	case strings.HasSuffix(t.PkgPath(), "pkg/events"):
		return t.Name()
	case t.String() == "time.Duration":
		return "duration"
	default:
		return t.String()
	}
}

func unit(goType string) string {
	switch goType {
	case "events.Time":
		return "_us"
	case "time.Duration":
		return "_ns"
	default:
		return ""
	}
}

// snake turns a Go field name into that of the schema.
func snake(name string) string {
	name = strings.ReplaceAll(name, "ID", "Id")
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// markdown makes one line of a doc comment.
func markdown(doc string) string {
	words := strings.Fields(doc)
	for i, w := range words {
		if open, end := strings.IndexByte(w, '['), strings.IndexByte(w, ']'); open >= 0 && end > open {
			words[i] = w[:open] + "`" + w[open+1:end] + "`" + w[end+1:] // a link of Go's
		}
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return strings.ReplaceAll(strings.Join(words, " "), "|", "\\|")
}
