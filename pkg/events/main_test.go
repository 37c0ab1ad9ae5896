package events_test

import (
	"flag"
	"testing"
)

var update = flag.Bool("update", false, "create missing golden files; existing ones are never changed")

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil { // failures print their seed
		panic(err)
	}
	m.Run()
}
