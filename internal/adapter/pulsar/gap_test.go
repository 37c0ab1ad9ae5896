package pulsar

import (
	"errors"
	"testing"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
)

// state has ledger 5 with 10 entries, 7 with none, 9 with 4, and 12, which is open, with 3.
func state() *internals {
	return &internals{Ledgers: []ledger{{5, 10}, {7, 0}, {9, 4}, {12, 0}}, CurrentEntries: 3}
}

func TestPositionsThatAreThere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ledger, entry int64
		want          error
	}{
		{5, 0, nil},
		{5, 9, nil},
		{9, 3, nil},
		{12, 2, nil},
		{4, 0, brokerlog.ErrTrimmed},
		{4, 100, brokerlog.ErrTrimmed},
		{5, 10, brokerlog.ErrAhead},
		{9, 4, brokerlog.ErrAhead},
		{12, 3, brokerlog.ErrAhead},
		{13, 0, brokerlog.ErrAhead},
		{6, 0, brokerlog.ErrAhead},
		{7, 0, brokerlog.ErrAhead}, // lost in the middle
	} {
		if err := state().has(position(test.ledger, test.entry, 0)); !errors.Is(err, test.want) {
			t.Errorf("%d:%d: %v, want %v", test.ledger, test.entry, err, test.want)
		}
	}
}

func TestNextMessage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		last, at   seen
		next, sure bool
	}{
		"next entry":                {seen{5, 1, 0, 0}, seen{5, 2, 0, 0}, true, true},
		"next of a batch":           {seen{5, 1, 0, 3}, seen{5, 1, 1, 3}, true, true},
		"first of a batch":          {seen{5, 1, 0, 0}, seen{5, 2, 0, 3}, true, true},
		"behind a batch":            {seen{5, 1, 2, 3}, seen{5, 2, 0, 0}, true, true},
		"an entry is missing":       {seen{5, 1, 0, 0}, seen{5, 3, 0, 0}, false, true},
		"rest of a batch":           {seen{5, 1, 1, 3}, seen{5, 2, 0, 0}, false, true},
		"middle of a batch":         {seen{5, 1, 0, 3}, seen{5, 1, 2, 3}, false, true},
		"beginning of a batch":      {seen{5, 1, 0, 0}, seen{5, 2, 1, 3}, false, true},
		"another ledger":            {seen{5, 1, 0, 0}, seen{9, 0, 0, 0}, true, false},
		"another ledger's second":   {seen{5, 1, 0, 0}, seen{9, 1, 0, 0}, false, false},
		"rest, then another ledger": {seen{5, 1, 0, 2}, seen{9, 0, 0, 0}, false, false},
	} {
		if next, sure := test.last.next(test.at); next != test.next || sure != test.sure {
			t.Errorf("%s: next %v, sure %v", name, next, sure)
		}
	}
}

func TestBetweenLedgers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		last, at seen
		want     error
	}{
		"read to its end":            {seen{5, 9, 0, 0}, seen{9, 0, 0, 0}, nil},
		"not to its end":             {seen{5, 8, 0, 0}, seen{9, 0, 0, 0}, errGap},
		"beyond its end":             {seen{5, 10, 0, 0}, seen{9, 0, 0, 0}, brokerlog.ErrAhead},
		"a ledger between":           {seen{5, 9, 0, 0}, seen{12, 0, 0, 0}, errGap},
		"forgotten while it is read": {seen{3, 9, 0, 0}, seen{5, 0, 0, 0}, brokerlog.ErrTrimmed},
	} {
		if err := state().between(test.last, test.at); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestHoldsThatHavePassed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		markDelete string
		behind     fold.Position
		want       bool
	}{
		{"5:-1", fold.Position{}, true},
		{"5:3", position(5, 4, 0), true},
		{"5:4", position(5, 4, 2), true},
		{"9:-1", position(5, 4, 0), true},
		{"5:2", position(5, 4, 0), false},
		{"5:9", position(9, 1, 0), false},
		{"5:9", position(9, 0, 0), false},
	} {
		if got, err := passes(test.markDelete, test.behind); err != nil || got != test.want {
			t.Errorf("a cursor at %s has passed a hold behind %v: %v, %v", test.markDelete, test.behind, got, err)
		}
	}
	if _, err := passes("nonsense", position(1, 1, 0)); err == nil {
		t.Error("a strange position was taken")
	}
}
