package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// input is a payload from a flag, a file or the standard input.
type input struct{ text, file string }

func (i *input) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&i.text, "input", "i", "", "input as JSON; - reads it from the standard input")
	cmd.Flags().StringVarP(&i.file, "input-file", "f", "", "file with the input as JSON; - reads the standard input")
	cmd.MarkFlagsMutuallyExclusive("input", "input-file")
}

// maxInput bounds the input, in bytes: what is larger does not fit into a request, whatever limit the server has.
const maxInput = wire.MaxMessageBytes - 64<<10

// payload reads the input; nil when none is given.
func (i *input) payload(cmd *cobra.Command, stdin io.Reader) (*apiv1.Payload, error) {
	if !cmd.Flags().Changed("input") && !cmd.Flags().Changed("input-file") {
		return nil, nil //nolint:nilnil // no input is a value of its own
	}
	data, from, err := i.read(stdin)
	if err != nil {
		return nil, usage("cannot read the input: %s", err)
	}
	if len(data) > maxInput {
		return nil, usage("the input from %s has more than %d bytes, which no request can carry: keep large data elsewhere and pass its address", from, maxInput)
	}
	compact, err := compactJSON(data)
	if err != nil {
		return nil, usage("the input from %s is not JSON: %s", from, err)
	}
	return &apiv1.Payload{Encoding: events.EncodingJSON, Data: compact}, nil
}

// read returns at most maxInput+1 bytes, and where they are from.
func (i *input) read(stdin io.Reader) (data []byte, from string, err error) {
	switch {
	case i.text == "-" || i.file == "-":
		data, err = io.ReadAll(io.LimitReader(stdin, maxInput+1))
		return data, "the standard input", err
	case i.file != "":
		file, err := os.Open(i.file)
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = file.Close() }() // it was only read
		data, err = io.ReadAll(io.LimitReader(file, maxInput+1))
		return data, i.file, err
	}
	return []byte(i.text), "--input", nil
}

// compactJSON takes the white space out of one JSON value. The error points at what is wrong.
func compactJSON(data []byte) ([]byte, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty; null is a value, and no value needs no flag")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, locate(data, int(syntax.Offset), err)
		}
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// locate adds the place of a syntax error, and shows its line with a mark below. offset counts the bytes up to and with the
// wrong one.
func locate(data []byte, offset int, err error) error {
	at := min(max(offset-1, 0), len(data))
	if bytes.HasPrefix([]byte(err.Error()), []byte("unexpected end")) {
		at = len(data)
	}
	begin := bytes.LastIndexByte(data[:at], '\n') + 1
	end := len(data)
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		end = at + i
	}
	line := 1 + bytes.Count(data[:begin], []byte{'\n'})
	before, after := visible(data[begin:at]), visible(data[at:end])
	const width = 40
	if n := len(before); n > width {
		before = append([]rune("…"), before[n-width:]...)
	}
	if len(after) > width {
		after = append(after[:width:width], '…')
	}
	mark := bytes.Repeat([]byte(" "), len(before))
	return fmt.Errorf("line %d, column %d (byte %d): %w\n  %s%s\n  %s^", line, utf8.RuneCount(data[begin:at])+1, at+1, err, string(before), string(after), mark)
}

// visible makes every character of a line take one place.
func visible(line []byte) []rune {
	text := []rune(string(line))
	for i, r := range text {
		if r < ' ' || r == 0x7f {
			text[i] = ' '
		}
	}
	return text
}
