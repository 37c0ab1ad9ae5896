// Command eventdoc writes docs/reference/events.md from the catalog and the doc comments of pkg/events. Run it by
// `go generate ./pkg/events`.
package main

import (
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: eventdoc SOURCE-DIR TARGET-FILE")
	}
	page, err := Page(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], page, 0o644)
	}
	if err != nil {
		log.Fatal("eventdoc: ", err)
	}
}
