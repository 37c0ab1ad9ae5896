package readmodel_test

import (
	"errors"
	"testing"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/pkg/events"
)

// A token is taken only for the filter it was made for, and means the place it was made of; everything else is refused as
// a bad page.
func FuzzPageToken(f *testing.F) {
	filter := readmodel.Filter{Namespace: "default", Type: "w", Statuses: []events.Status{events.StatusRunning}}
	f.Add(readmodel.Cursor{Started: 5, RunID: events.RunID{1}}.Token(filter), "w", "", int64(0), 10)
	f.Add("", "w", "p", int64(-1), 0)
	f.Add("AQ", "", "", int64(5), 1001)
	f.Fuzz(func(t *testing.T, token, name, prefix string, from int64, limit int) {
		of := readmodel.Filter{Namespace: "default", Type: events.WorkflowType(name), WorkflowIDPrefix: prefix, StartedFrom: events.Time(from)}
		size, after, err := readmodel.Page{Limit: limit, Token: token}.Resolve(of)
		switch {
		case err != nil:
			if !errors.Is(err, readmodel.ErrBadPage) {
				t.Fatalf("refused with %v", err)
			}
		case size < 1 || size > readmodel.MaxPage:
			t.Fatalf("a page of %d", size)
		case token != "" && after.Token(of) != token:
			t.Fatalf("%q means %+v, whose token is %q", token, after, after.Token(of))
		}
		at := readmodel.Cursor{Started: events.Time(from), RunID: events.RunID{byte(limit)}}
		if _, back, err := (readmodel.Page{Token: at.Token(of)}).Resolve(of); err != nil || back != at {
			t.Fatalf("%+v came back as %+v, %v", at, back, err)
		}
		of.Quarantined = !of.Quarantined
		if _, _, err := (readmodel.Page{Token: readmodel.Cursor{}.Token(readmodel.Filter{Type: "other than this"})}).Resolve(of); err == nil && name != "other than this" {
			t.Fatal("the token of another filter was taken")
		}
	})
}
