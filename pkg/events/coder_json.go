package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The JSON half of a coder. It serves histories, which are read by people and tools, and is not made for speed.

func (c *coder) key(name string) {
	if c.comma {
		c.b = append(c.b, ',')
	}
	c.comma = true
	c.b = append(c.b, '"')
	c.b = append(c.b, name...)
	c.b = append(c.b, '"', ':')
}

// take removes a member from the open object; null counts as absent.
func (c *coder) take(name string) (json.RawMessage, bool) {
	raw, ok := c.obj[name]
	if !ok {
		return nil, false
	}
	delete(c.obj, name)
	return raw, string(raw) != "null"
}

// leftOver fails when the open object has members that no field took.
func (c *coder) leftOver() {
	if len(c.obj) > 0 && c.err == nil {
		c.fail(fmt.Errorf("the field %q is unknown: the history was written by a newer version, or it is misspelt",
			slices.Sorted(maps.Keys(c.obj))[0]))
	}
}

func (c *coder) parsed(name string, raw json.RawMessage, err error) {
	if err != nil {
		c.fail(fmt.Errorf("field %s: %.60q: %w", name, string(raw), err))
	}
}

func (c *coder) takeText(name, absent string) string {
	raw, ok := c.take(name)
	if !ok {
		return absent
	}
	var s string
	c.parsed(name, raw, json.Unmarshal(raw, &s))
	return s
}

func (c *coder) putNumber(v uint64) { c.b = strconv.AppendUint(c.b, v, 10) }

func (c *coder) takeNumber(name string, absent uint64) uint64 {
	raw, ok := c.take(name)
	if !ok {
		return absent
	}
	v, err := strconv.ParseUint(string(raw), 10, 64)
	c.parsed(name, raw, err)
	return v
}

// putDouble writes what JSON has no number for as text.
func (c *coder) putDouble(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		c.b = strconv.AppendQuote(c.b, strconv.FormatFloat(v, 'g', -1, 64))
		return
	}
	c.b = strconv.AppendFloat(c.b, v, 'g', -1, 64)
}

func (c *coder) takeDouble(name string, absent float64) float64 {
	raw, ok := c.take(name)
	if !ok {
		return absent
	}
	v, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	c.parsed(name, raw, err)
	return v
}

const instantLayout = "2006-01-02T15:04:05.000000Z07:00"

// lastInstant is the end of the year 9999, after which RFC 3339 has no text; such moments are numbers of microseconds.
const lastInstant = Time(253402300799_999999)

func (c *coder) putInstant(t Time) {
	if t < 0 || t > lastInstant {
		c.b = strconv.AppendInt(c.b, int64(t), 10)
		return
	}
	c.b = append(c.b, '"')
	c.b = t.Std().AppendFormat(c.b, instantLayout)
	c.b = append(c.b, '"')
}

func (c *coder) takeInstant(name string, absent Time) Time {
	raw, ok := c.take(name)
	if !ok {
		return absent
	}
	if raw[0] != '"' {
		v, err := strconv.ParseInt(string(raw), 10, 64)
		c.parsed(name, raw, err)
		return Time(v)
	}
	t, err := time.Parse(time.RFC3339Nano, strings.Trim(string(raw), `"`))
	c.parsed(name, raw, err)
	return Time(t.UnixMicro())
}

// putSpan writes milliseconds with as many decimals as needed, six at most, so that nothing is lost.
func (c *coder) putSpan(d time.Duration) {
	if d < 0 {
		c.b = append(c.b, '-')
	}
	ns := magnitude(d)
	c.b = strconv.AppendUint(c.b, ns/1e6, 10)
	if rest := ns % 1e6; rest != 0 {
		c.b = append(c.b, strings.TrimRight(fmt.Sprintf(".%06d", rest), "0")...)
	}
}

func magnitude(d time.Duration) uint64 {
	if d < 0 {
		return -uint64(d)
	}
	return uint64(d)
}

func (c *coder) takeSpan(name string, absent time.Duration) time.Duration {
	raw, ok := c.take(name)
	if !ok {
		return absent
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(string(raw), "-"), ".")
	if len(fraction) > 6 {
		c.parsed(name, raw, fmt.Errorf("more than 6 decimals of a millisecond"))
		return 0
	}
	ns, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 64)
	if err == nil && ns > 1<<63 {
		err = strconv.ErrRange
	}
	c.parsed(name, raw, err)
	if raw[0] == '-' {
		return time.Duration(-ns)
	}
	if ns == 1<<63 {
		c.parsed(name, raw, strconv.ErrRange)
	}
	return time.Duration(ns)
}

const hexDigits = "0123456789abcdef"

// appendJSONText quotes s. Bytes that are not UTF-8 become U+FFFD.
func appendJSONText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		var escaped string
		switch {
		case r == '"':
			escaped = `\"`
		case r == '\\':
			escaped = `\\`
		case r == '\n':
			escaped = `\n`
		case r == '\t':
			escaped = `\t`
		case r < ' ':
			escaped = `\u00` + string(hexDigits[r>>4]) + string(hexDigits[r&15])
		case r == utf8.RuneError && size == 1:
			escaped = `\ufffd`
		}
		if escaped != "" {
			b = append(append(b, s[from:i]...), escaped...)
			from = i + size
		}
		i += size
	}
	return append(append(b, s[from:]...), '"')
}
