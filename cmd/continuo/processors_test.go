package main

import "testing"

func TestThreads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		processors, now int
		wish            string
		want            int
	}{
		{"few processors", 2, 2, "", 4},
		{"one", 1, 1, "", 2},
		{"many: enough are free", 8, 8, "", 0},
		{"the group may use less", 4, 2, "", 0},
		{"done before", 2, 4, "", 0},
		{"the environment says otherwise", 2, 2, "2", 0},
	} {
		if got := threads(c.processors, c.now, c.wish); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
