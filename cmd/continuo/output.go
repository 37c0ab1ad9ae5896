package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
)

// print writes the message as JSON, or calls table with --output table.
func (a *app) print(m proto.Message, table func()) error {
	if a.output != "json" {
		table()
		return nil
	}
	text, err := wire.MarshalJSON(m)
	if err != nil {
		return fmt.Errorf("cannot write the answer as JSON: %w", err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return fmt.Errorf("cannot write the answer as JSON: %w", err)
	}
	a.line(pretty.String())
	return nil
}

// line writes one line to the standard output. A reader who has gone is no error of ours.
func (a *app) line(parts ...any) { _, _ = fmt.Fprintln(a.stdout, parts...) }

// rows writes an aligned table. A cell is one line, whatever its text.
func (a *app) rows(header []string, rows [][]string) {
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = oneLine(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format(timeLayout)
}

func statusName(s apiv1.Status) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STATUS_"))
}

// show returns a payload as text: JSON as it is, other encodings by name and size.
func show(p *apiv1.Payload) string {
	switch {
	case p == nil || (p.GetEncoding() == "" && len(p.GetData()) == 0):
		return "-"
	case p.GetEncoding() == "json":
		return string(p.GetData())
	default:
		return fmt.Sprintf("(%d bytes, encoding %q)", len(p.GetData()), p.GetEncoding())
	}
}

// failureText returns a failure with its causes on one line.
func failureText(f *apiv1.Failure) string {
	var b strings.Builder
	for depth := 0; f != nil && depth < 16; f, depth = f.GetCause(), depth+1 {
		if depth > 0 {
			b.WriteString(": ")
		}
		b.WriteString(f.GetMessage())
		if f.GetCode() != "" {
			b.WriteString(" [" + f.GetCode() + "]")
		}
	}
	return b.String()
}

func since(from, to *timestamppb.Timestamp) string {
	if from == nil || to == nil {
		return "-"
	}
	return to.AsTime().Sub(from.AsTime()).Round(time.Millisecond).String()
}

// json writes any value as indented JSON.
func (a *app) json(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the answer as JSON: %w", err)
	}
	a.line(string(text))
	return nil
}
