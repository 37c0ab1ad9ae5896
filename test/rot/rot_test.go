// Package rot damages the files of stopped stores at random, and holds everything that can be read of them afterwards
// against what was there. Damage is to be noticed, with the place, or to change nothing.
package rot

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/adapter/pebble"
	"github.com/continuo-dev/continuo/internal/embedded"
)

var (
	flips = flag.Int("flips", 500, "how many bit flips and truncations there are")
	seed  = flag.Uint64("seed", 1, "of their places")
)

// trialTime bounds one trial: what takes longer hangs.
const trialTime = time.Minute

// A trial in so many opens the store although the check has found the damage, and one in so many starts all services on it.
const (
	openOneIn  = 4
	startOneIn = 16
)

// rebuildTime is how long started services are waited for until their read model is whole. Stopped in the middle of being built
// anew, it would have to be built anew once more; of a damaged log it may never be whole.
const rebuildTime = 2 * time.Second

func TestRot(t *testing.T) { //nolint:paralleltest // it reports how long it takes
	stopped, killed := makeSources(t)
	began := time.Now()
	total := tally{}
	for i, src := range []source{stopped, killed} {
		l := newLab(t, src)
		random := rand.New(rand.NewPCG(*seed, uint64(i))) //nolint:gosec // places, not secrets
		for n := range *flips / 2 {
			d := l.draw(random)
			l.trial(t, d, n, &total)
		}
	}
	l := newLab(t, killed)
	cuts := 0
	for size := killed.tail; size < l.sizes[killed.wal]; size++ { // every byte of the last three records
		l.trial(t, damage{file: killed.wal, at: size, cut: true}, 1, &total)
		cuts++
	}
	fmt.Printf("rot: %d flips and truncations of %d files, %d truncations at each byte of the last 3 records: %d noticed, %d harmless, %d unnoticed, "+
		"%d wrong reads, %d panics, %d hangs; %d of the stores were opened, %d started; %.0f ms a trial (seed %d)\n",
		*flips, total.files, cuts, total.noticed, total.harmless, total.unnoticed, total.wrong, total.panics, total.hangs, total.opened, total.started,
		float64(time.Since(began).Milliseconds())/float64(*flips+cuts), *seed)
}

// tally counts what came of the trials.
type tally struct{ noticed, harmless, unnoticed, wrong, panics, hangs, opened, started, files int }

// damage is one change to one file.
type damage struct {
	file string
	at   int64
	bit  int
	cut  bool
}

func (d damage) String() string {
	if d.cut {
		return fmt.Sprintf("%s cut to %d bytes", d.file, d.at)
	}
	return fmt.Sprintf("%s: bit %d of byte %d", d.file, d.bit, d.at)
}

// lab has a whole store, what it says, and copies of it.
type lab struct {
	source
	truth *truth
	all   []string // files
	files []string // that have bytes to damage
	sizes map[string]int64
	work  string
}

func newLab(t *testing.T, src source) *lab {
	t.Helper()
	l := &lab{source: src, sizes: map[string]int64{}, work: t.TempDir()}
	if report, err := embedded.Check(src.dir); err != nil || !report.Whole() {
		t.Fatalf("the %s store: %v, %v", src.name, report.Problems, err)
	}
	err := filepath.WalkDir(src.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		size, err := written(path)
		rel, _ := filepath.Rel(src.dir, path)
		l.all = append(l.all, rel)
		if err == nil && size > 0 {
			l.files = append(l.files, rel)
			l.sizes[rel] = size
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := embedded.Check(l.link(t, "linked")); err != nil || !report.Whole() {
		t.Fatalf("a copy of the %s store: %v, %v", src.name, report.Problems, err)
	}
	dir := l.copy(t, "whole")
	if l.truth, err = learn(dir); err != nil {
		t.Fatal(err)
	}
	if wrong, damaged, err := l.truth.compareModel(filepath.Join(l.copy(t, "model"), "readmodel.db")); err != nil || damaged || len(wrong) > 0 {
		t.Fatalf("the read model of the %s store: damaged %v, %v, %v", src.name, damaged, wrong, err)
	}
	return l
}

func (l *lab) copy(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(l.work, name)
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(l.dir))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// link makes a copy whose files are those of the source. It is to be read only.
func (l *lab) link(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(l.work, name)
	err := os.RemoveAll(dir)
	for _, file := range l.all {
		path := filepath.Join(dir, file)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.Link(filepath.Join(l.dir, file), path))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// draw chooses a place. Kinds of files have equal chances, then files, so that many small files hide no kind.
func (l *lab) draw(random *rand.Rand) damage {
	kinds := map[string][]string{}
	for _, f := range l.files {
		kind := filepath.Dir(f) + "/" + filepath.Ext(f)
		if strings.HasPrefix(f, "blobs") {
			kind = "blobs"
		}
		kinds[kind] = append(kinds[kind], f)
	}
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	of := kinds[names[random.IntN(len(names))]]
	d := damage{file: of[random.IntN(len(of))], cut: random.IntN(10) == 0, bit: random.IntN(8)}
	d.at = random.Int64N(l.sizes[d.file])
	return d
}

// inflict damages a file of a copy, which may be a link.
func (d damage) inflict(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, d.file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d.cut {
		b = b[:d.at]
	} else {
		b[d.at] ^= 1 << d.bit
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// verdict is what came of one trial.
type verdict struct {
	noticed         bool
	opened, started bool
	unnoticed       []string // what is wrong although the check passes
	wrong           []string // reads
	panicked        any
}

func (l *lab) trial(t *testing.T, d damage, n int, total *tally) {
	t.Helper()
	dir := l.link(t, "linked")
	d.inflict(t, dir)
	check := embedded.Check
	if d.file == l.wal {
		check = func(dir string) (pebble.Report, error) { return pebble.Check(dir, pebble.Judge{}) }
	}
	report, err := check(dir)
	if err == nil {
		for _, p := range report.Problems {
			if p.Where == "" || p.What == "" {
				t.Errorf("%s: the finding %q does not say where and what", d, p)
			}
		}
	}
	noticed := err != nil || !report.Whole()
	v := verdict{noticed: noticed}
	if !noticed || n%openOneIn == openOneIn-1 {
		dir = l.copy(t, "copied")
		d.inflict(t, dir)
		done := make(chan verdict, 1)
		go func() { done <- l.use(dir, noticed, n%startOneIn == startOneIn-1) }()
		select {
		case v = <-done:
		case <-time.After(trialTime):
			total.hangs++
			t.Fatalf("%s store, %s: it hangs", l.name, d)
		}
	}
	total.files = max(total.files, len(l.files))
	count(&total.noticed, v.noticed)
	count(&total.harmless, !v.noticed && len(v.unnoticed) == 0)
	count(&total.unnoticed, len(v.unnoticed) > 0)
	count(&total.wrong, len(v.wrong) > 0)
	count(&total.panics, v.panicked != nil)
	count(&total.opened, v.opened)
	count(&total.started, v.started)
	for _, w := range slices.Concat(v.unnoticed, v.wrong) {
		t.Errorf("%s store, %s (check: %v): %s", l.name, d, report.Problems, w)
	}
	if v.panicked != nil {
		t.Errorf("%s store, %s: panic: %v", l.name, d, v.panicked)
	}
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// use opens a damaged store and reads all of it, and may start all services on it.
func (l *lab) use(dir string, noticed, start bool) (v verdict) {
	v.noticed = noticed
	defer func() { v.panicked = recover() }()
	if start {
		l.start(dir, &v)
		return v
	}
	miss := func(format string, args ...any) {
		if !noticed {
			v.unnoticed = append(v.unnoticed, fmt.Sprintf(format, args...))
		}
	}
	wrong, damaged, err := l.truth.compareModel(filepath.Join(dir, "readmodel.db"))
	v.wrong = append(v.wrong, wrong...)
	if damaged || err != nil {
		miss("the read model is damaged: %v", err)
	}
	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		miss("the store does not open: %v", err)
		if text := err.Error(); !strings.Contains(text, dir) && !strings.Contains(text, "partition") {
			v.wrong = append(v.wrong, "the error names no place: "+text)
		}
		return v
	}
	v.opened = true
	wrong, unread := l.truth.compare(s, filepath.Join(dir, "blobs"), l.known)
	v.wrong = append(v.wrong, wrong...)
	if unread > 0 {
		miss("%d answers are errors", unread)
	}
	if err := s.Close(); err != nil {
		miss("the store does not close: %v", err)
	}
	return v
}

// known reports whether what a store says to a question is known. Rows that were never synced may be older after a crash,
// and recovery folds the log over them; started services judge that.
func (l *lab) known(what string) bool {
	if l.name == "stopped" {
		return true
	}
	for _, derived := range []string{"checkpoint", "ended", "scheduler", "due", "row", "newest"} {
		if strings.HasPrefix(what, derived) {
			return false
		}
	}
	return true
}

// start starts all services, stops them when they answer, and looks at what they left.
func (l *lab) start(dir string, v *verdict) {
	ctx, cancel := context.WithTimeout(context.Background(), trialTime/2)
	defer cancel()
	suite, err := embedded.Start(ctx, embedded.Options{Dir: dir})
	if err != nil {
		if !v.noticed {
			v.unnoticed = append(v.unnoticed, fmt.Sprintf("the services do not start: %v", err))
		}
		if !strings.Contains(err.Error(), dir) && !strings.Contains(err.Error(), "partition") {
			v.wrong = append(v.wrong, fmt.Sprintf("the services do not start, and the error names no place: %v", err))
		}
		return
	}
	v.started = true
	if err := untilListed(ctx, suite); err != nil {
		v.wrong = append(v.wrong, fmt.Sprintf("the read model is not usable %v after a start: %v", trialTime/2, err))
	}
	if err := suite.Close(); err != nil {
		if !v.noticed {
			v.unnoticed = append(v.unnoticed, fmt.Sprintf("the services end with: %v", err))
		}
		return
	}
	wrong, damaged, err := l.truth.compareModel(filepath.Join(dir, "readmodel.db"))
	v.wrong = append(v.wrong, wrong...)
	if damaged || err != nil {
		v.wrong = append(v.wrong, fmt.Sprintf("the read model is still damaged after a start: %v", err))
	}
}

// untilListed waits until the started services list workflows from a whole read model: a damaged one is built anew beside
// everything else.
func untilListed(ctx context.Context, suite *embedded.Suite) error {
	conn, err := grpc.NewClient("passthrough:///embedded", grpc.WithContextDialer(suite.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	api := apiv1.NewWorkflowServiceClient(conn)
	for began := time.Now(); ; {
		r, err := api.ListWorkflows(ctx, &apiv1.ListWorkflowsRequest{PageSize: 1000})
		whole := r.GetWatermark().GetLagMs() == 0 || time.Since(began) > rebuildTime
		if status.Code(err) != codes.Unavailable && (err != nil || whole) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-again.C:
		}
	}
}
