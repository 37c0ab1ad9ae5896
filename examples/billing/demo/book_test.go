package main

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	due := book{{"ada", 1}: 100, {"ada", 2}: 200, {"bob", 1}: 300}
	right := []charge{{1, "ada", 1, 100, 0}, {2, "bob", 1, 300, 2}, {3, "ada", 2, 200, 1}}
	for _, c := range []struct {
		name   string
		ledger []charge
		same   bool
		want   string // in the printed comparison, spaces folded
	}{
		{"agree", right, true, "months due 3 months charged 3 charged twice 0 missed 0 charged although not due 0 charged with a wrong amount 0 repeated calls answered from the key 3"},
		{"twice", append(right[:3:3], charge{4, "ada", 2, 200, 0}, charge{5, "ada", 2, 200, 0}), false, "months charged 3 charged twice 1 ada, month 2 missed 0"},
		{"missed", right[:2], false, "months charged 2 charged twice 0 missed 1 ada, month 2"},
		{"nothing", nil, false, "missed 3 ada, month 1 ada, month 2 bob, month 1"},
		{"not due", append(right[:3:3], charge{4, "ada", 3, 1, 0}), false, "months charged 3 charged twice 0 missed 0 charged although not due 1 ada, month 3"},
		{"amount", []charge{right[0], right[1], {3, "ada", 2, 201, 0}}, false, "charged with a wrong amount 1 ada, month 2"},
	} {
		got := due.compare(c.ledger)
		var text strings.Builder
		got.print(&text)
		if folded := strings.Join(strings.Fields(text.String()), " "); got.same() != c.same || !strings.Contains(folded, c.want) {
			t.Errorf("%s: same=%v, want %v and %q in\n%s", c.name, got.same(), c.same, c.want, text.String())
		}
	}
}
