// Command eventdoc writes docs/reference/events.md from the catalog and the doc comments of pkg/events. Run it by
// `go generate ./pkg/events`.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: eventdoc SOURCE-DIR TARGET-FILE")
		os.Exit(2)
	}
	page, err := Page(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "eventdoc:", err)
		os.Exit(1)
	}
}
