package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets a test start this very binary as a service, to kill it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_SERVICE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// open serves a role from file, as a process would, until the test ends.
func open(t *testing.T, name, file string) *httptest.Server {
	t.Helper()
	db, err := openStore(t.Context(), file, roles[name].schema)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := newHandler(t.Context(), roles[name], db)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		if err := db.close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func fresh(t *testing.T, name string) string {
	t.Helper()
	return open(t, name, filepath.Join(t.TempDir(), name+".db")).URL
}

// call sends one request and gives status, trimmed body and whether the answer was a stored one.
func call(t *testing.T, method, url, key, body string) (status int, answer string, repeated bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(bytes.TrimSpace(got)), response.Header.Get("Idempotent-Replayed") == "true"
}

func want(t *testing.T, method, url, key, body string, status int) string {
	t.Helper()
	got, answer, _ := call(t, method, url, key, body)
	if got != status {
		t.Fatalf("%s %s %s: status %d, want %d: %s", method, url, body, got, status, answer)
	}
	return answer
}

func readCharges(t *testing.T, url string) []charge {
	t.Helper()
	var page struct{ Charges []charge }
	if err := json.Unmarshal([]byte(want(t, "GET", url+"/ledger", "", "", 200)), &page); err != nil {
		t.Fatal(err)
	}
	return page.Charges
}

const aCharge = `{"customer":"ada","month":3,"amount_cents":1500}`

func TestSameKeyChargesOnce(t *testing.T) {
	t.Parallel()
	url := fresh(t, "payment")
	first := want(t, "POST", url+"/charges", "run/7", aCharge, 201)
	status, again, repeated := call(t, "POST", url+"/charges", "run/7", aCharge)
	if status != 201 || again != first || !repeated {
		t.Errorf("repeat: %d %s repeated=%v, want 201 and the stored answer %s", status, again, repeated, first)
	}
	charges := readCharges(t, url)
	if len(charges) != 1 || charges[0].Repeats != 1 || charges[0].AmountCents != 1500 || charges[0].Customer != "ada" || charges[0].Month != 3 {
		t.Errorf("ledger %+v, want one charge of ada's month 3 with one repeat", charges)
	}
}

func TestTheLedgerShowsADoubleCharge(t *testing.T) {
	t.Parallel()
	url := fresh(t, "payment")
	for _, key := range []string{"run/7", "run/8", "", ""} {
		want(t, "POST", url+"/charges", key, aCharge, 201)
	}
	if n := len(readCharges(t, url)); n != 4 {
		t.Errorf("%d charges, want 4: other keys and no key are new charges", n)
	}
	if rest := want(t, "GET", url+"/ledger?after=3", "", "", 200); !strings.Contains(rest, `"id":4`) || strings.Contains(rest, `"id":3`) {
		t.Errorf("ledger after 3: %s, want charge 4 alone", rest)
	}
}

func TestKeyOfAnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	url := fresh(t, "payment")
	want(t, "POST", url+"/charges", "k", aCharge, 201)
	want(t, "POST", url+"/charges", "k", `{"customer":"ada","month":4,"amount_cents":1500}`, 422)
	if charges := readCharges(t, url); len(charges) != 1 || charges[0].Repeats != 0 {
		t.Errorf("ledger %+v, want the first charge alone", charges)
	}
}

func TestConcurrentCallsWithOneKeyChargeOnce(t *testing.T) {
	t.Parallel()
	url := fresh(t, "payment")
	answers := make([]string, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { _, answers[i], _ = call(t, "POST", url+"/charges", "k", aCharge) })
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("answers differ: %s and %s", answers[0], a)
		}
	}
	if charges := readCharges(t, url); len(charges) != 1 || charges[0].Repeats != len(answers)-1 {
		t.Errorf("ledger %+v, want one charge with %d repeats", charges, len(answers)-1)
	}
}

func TestTheOtherServices(t *testing.T) {
	t.Parallel()
	meter := fresh(t, "consumption")
	first := want(t, "GET", meter+"/customers/ada/usage/3", "", "", 200)
	if again := want(t, "GET", meter+"/customers/ada/usage/3", "", "", 200); again != first {
		t.Errorf("usage changed from %s to %s", first, again)
	}
	var u usage
	if err := json.Unmarshal([]byte(first), &u); err != nil || u.Customer != "ada" || u.Month != 3 || u.AmountCents != u.Units*centsPerUnit || u.Units == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	for role, request := range map[string]string{
		"invoice": `{"customer":"ada","month":3,"amount_cents":1500,"payment":"ch_1"}`,
		"email":   `{"customer":"ada","subject":"Your invoice","body":"…"}`,
	} {
		url := fresh(t, role) + "/" + role + "s"
		first := want(t, "POST", url, "k", request, 201)
		if _, again, repeated := call(t, "POST", url, "k", request); again != first || !repeated {
			t.Errorf("%s: repeat gave %s, repeated=%v, want %s", role, again, repeated, first)
		}
		if other := want(t, "POST", url, "other", request, 201); other == first {
			t.Errorf("%s: another key gave the same %s", role, other)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	url := fresh(t, "payment")
	for _, c := range []struct {
		body   string
		status int
	}{
		{`{`, 400},
		{`{"customer":"ada","month":3,"amount_cents":1500,"currency":"EUR"}`, 400},
		{`{"customer":"","month":3,"amount_cents":1500}`, 422},
		{`{"customer":"ada","month":0,"amount_cents":1500}`, 422},
		{`{"customer":"ada","month":3,"amount_cents":0}`, 422},
		{`{"customer":"` + strings.Repeat("a", 70<<10) + `"}`, 413},
	} {
		want(t, "POST", url+"/charges", "k", c.body, c.status)
	}
	if n := len(readCharges(t, url)); n != 0 {
		t.Errorf("%d charges, want none", n)
	}
	want(t, "POST", url+"/faults", "", `{"fail_percent":101}`, 422)
	want(t, "POST", url+"/faults", "", `{"fail":1}`, 400)
	want(t, "GET", fresh(t, "consumption")+"/customers/ada/usage/third", "", "", 400)
}

// roller is a faults handler with a loaded dice.
func roller(t *testing.T, s settings, dice int) (url string) {
	t.Helper()
	db, err := openStore(t.Context(), filepath.Join(t.TempDir(), "payment.db"), paymentSchema)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{db: db, now: s, roll: func(int) int { return dice }}
	api := http.NewServeMux()
	paymentAPI(api, db)
	mux := http.NewServeMux()
	mux.Handle("/", f.around(api))
	paymentLedger(mux, db)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.Close()
		_ = db.close()
	})
	return server.URL
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const noAnswer = 0
	for _, c := range []struct {
		name    string
		faults  settings
		dice    int
		status  int
		charged int
	}{
		{"fails before the work", settings{FailPercent: 5}, 8, 503, 0},
		{"fails after the work", settings{FailPercent: 5}, 9, 500, 1},
		{"the dice spares it", settings{FailPercent: 5}, 10, 201, 1},
		{"hangs before the work", settings{FailPercent: 5, HangPercent: 1}, 10, noAnswer, 0},
		{"hangs after the work", settings{FailPercent: 5, HangPercent: 1}, 11, noAnswer, 1},
		{"down", settings{Down: true}, 199, noAnswer, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := roller(t, c.faults, c.dice)
			patience, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			request, err := http.NewRequestWithContext(patience, http.MethodPost, url+"/charges", strings.NewReader(aCharge))
			if err != nil {
				t.Fatal(err)
			}
			status := noAnswer
			if response, err := http.DefaultClient.Do(request); err == nil {
				status = response.StatusCode
				response.Body.Close()
			}
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if n := len(readCharges(t, url)); n != c.charged {
				t.Errorf("%d charges, want %d", n, c.charged)
			}
		})
	}
}

func TestFaultsSurviveARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "payment.db")
	first := open(t, "payment", file)
	want(t, "POST", first.URL+"/faults", "", `{"fail_percent":100}`, 200)
	first.Close()
	again := open(t, "payment", file).URL
	if status, _, _ := call(t, "POST", again+"/charges", "k", aCharge); status < 500 {
		t.Errorf("status %d, want a failure as told before the restart", status)
	}
	want(t, "GET", again+"/healthz", "", "", 200)
	if stats := want(t, "GET", again+"/stats", "", "", 200); !strings.Contains(stats, `"calls":1,`) {
		t.Errorf("stats %s, want one call", stats)
	}
}

var listening = regexp.MustCompile(`addr=(\S+)`)

// spawn starts this binary as a payment service and waits until it listens.
func spawn(t *testing.T, file string) (*exec.Cmd, string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "--role", "payment", "--db", file)
	child.Env = append(os.Environ(), "RUN_AS_SERVICE=1")
	stderr, err := child.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := stderr.Read(line)
	match := listening.FindSubmatch(line[:n])
	if match == nil {
		t.Fatalf("the service said %q, %v: want its address", line[:n], err)
	}
	return child, "http://" + string(match[1])
}

func TestWhatWasAnsweredSurvivesKill(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "payment.db")
	child, url := spawn(t, file)
	answers := map[string]string{}
	for n := 0; ; n++ {
		if n == 20 {
			go func() { _ = child.Process.Kill() }() // while the loop goes on
		}
		key := fmt.Sprint("k", n)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/charges", strings.NewReader(aCharge))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			answers[key] = "" // killed before it could answer: done or not, the repeat will settle it
			break
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			answers[key] = ""
			break
		}
		answers[key] = string(bytes.TrimSpace(body))
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) {
		t.Fatalf("child ended with %v, want killed", err)
	}
	child, url = spawn(t, file)
	for key, first := range answers {
		again := want(t, "POST", url+"/charges", key, aCharge, 201)
		if first != "" && again != first {
			t.Errorf("key %s: %s after the kill, %s before", key, again, first)
		}
	}
	if n := len(readCharges(t, url)); n != len(answers) {
		t.Errorf("%d charges for %d keys", n, len(answers))
	}
	if err := child.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Errorf("after an interrupt the service ended with %v, want a clean end", err)
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--role", "billing", "--db", "x"}, `no role "billing": choose one of consumption, email, invoice, payment`},
		{[]string{"--role", "payment"}, "name its file with --db"},
		{[]string{"--role", "payment", "--db", filepath.Join(t.TempDir(), "no", "such", "dir.db")}, "dir.db"},
	} {
		if err := run(t.Context(), c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}
