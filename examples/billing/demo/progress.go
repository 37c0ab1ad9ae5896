package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress is one line that is written again and again on a terminal, and now and then a new one elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	every    time.Duration
}

func newProgress(out io.Writer) progress {
	if file, ok := out.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return progress{out, true, 250 * time.Millisecond}
		}
	}
	return progress{out, false, 2 * time.Second}
}

func (p progress) show(line string) {
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K  %s", line)
		return
	}
	fmt.Fprintf(p.out, "  %s\n", line)
}

// end leaves the line, so that what follows begins a new one.
func (p progress) end() {
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}
