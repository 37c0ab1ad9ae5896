package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// hangLimit ends a request that hangs although its client still waits.
const hangLimit = time.Minute

// settings say how the service misbehaves. They outlive a restart, as a broken network would.
type settings struct {
	FailPercent int  `json:"fail_percent"` // answered 503 before the work or 500 after it, half each
	HangPercent int  `json:"hang_percent"` // never answered, half of them after the work is done
	Down        bool `json:"down"`         // every connection is closed without an answer
}

func (s settings) check() error {
	if s.FailPercent < 0 || s.HangPercent < 0 || s.FailPercent+s.HangPercent > 100 {
		return fmt.Errorf("fail_percent %d and hang_percent %d must be positive and at most 100 together", s.FailPercent, s.HangPercent)
	}
	return nil
}

// fault is what happens to one request.
type fault int

const (
	none fault = iota
	failBefore
	failAfter
	hangBefore
	hangAfter
	closed
)

// faults stand between the network and the service's API. Safe for concurrent use.
type faults struct {
	db   *store
	roll func(n int) int // 0 ≤ result < n

	mu  sync.Mutex
	now settings

	calls, failedBefore, failedAfter, hung, dropped atomic.Int64 // since this process began
}

func loadFaults(ctx context.Context, db *store) (*faults, error) {
	f := &faults{db: db, roll: rand.IntN}
	var stored []byte
	err := db.db.QueryRowContext(ctx, `SELECT settings FROM faults`).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(stored, &f.now)
	}
	return f, err
}

// draw decides the fate of one request.
func (f *faults) draw() fault {
	f.mu.Lock()
	now := f.now
	f.mu.Unlock()
	if now.Down {
		return closed
	}
	dice := f.roll(200) // two sides per percent: before and after the work
	fail, hang := 2*now.FailPercent, 2*now.HangPercent
	switch {
	case dice < fail && dice%2 == 0:
		return failBefore
	case dice < fail:
		return failAfter
	case dice < fail+hang && dice%2 == 0:
		return hangBefore
	case dice < fail+hang:
		return hangAfter
	default:
		return none
	}
}

func (f *faults) around(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		switch f.draw() {
		case none:
			api.ServeHTTP(w, r)
		case failBefore:
			f.failedBefore.Add(1)
			fail(w, http.StatusServiceUnavailable, errors.New("told to fail before the work"))
		case failAfter:
			api.ServeHTTP(unheard{}, r)
			f.failedAfter.Add(1)
			fail(w, http.StatusInternalServerError, errors.New("told to fail after the work"))
		case hangBefore:
			f.hang(r)
		case hangAfter:
			api.ServeHTTP(unheard{}, r)
			f.hang(r)
		case closed:
			f.dropped.Add(1)
			panic(http.ErrAbortHandler) // net/http closes the connection without an answer and without a log line
		}
	})
}

// hang waits until the client leaves, the process ends or hangLimit has passed, and never answers.
func (f *faults) hang(r *http.Request) {
	f.hung.Add(1)
	_, _ = io.Copy(io.Discard, r.Body) // net/http notices that a client left only after the body was read
	select {
	case <-r.Context().Done():
	case <-time.After(hangLimit):
	}
	panic(http.ErrAbortHandler)
}

func (f *faults) get(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply(w, http.StatusOK, f.now)
}

func (f *faults) set(w http.ResponseWriter, r *http.Request) {
	var next settings
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&next); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("malformed faults: %w", err))
		return
	}
	if err := next.check(); err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	stored, err := json.Marshal(next)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		_, err = f.db.db.ExecContext(r.Context(), `INSERT INTO faults VALUES (1, ?) ON CONFLICT DO UPDATE SET settings = excluded.settings`, stored)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	f.now = next
	reply(w, http.StatusOK, next)
}

// stats counts the requests to the API since this process began, and what was done to them.
func (f *faults) stats(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]int64{
		"calls": f.calls.Load(), "failed_before": f.failedBefore.Load(), "failed_after": f.failedAfter.Load(),
		"hung": f.hung.Load(), "dropped": f.dropped.Load(),
	})
}

// unheard is where the answer of a request goes whose client will never see it.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) Write(p []byte) (int, error) { return len(p), nil }
func (unheard) WriteHeader(int)             {}
