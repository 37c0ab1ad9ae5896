package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// post is an endpoint that changes something: it reads a request, does the work once per Idempotency-Key, and
// answers after the commit. A repeat gets the stored answer and the header "Idempotent-Replayed: true".
func post[Request interface{ check() error }](db *store, work func(context.Context, *sql.Tx, Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			fail(w, http.StatusRequestEntityTooLarge, err)
			return
		}
		var request Request
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("malformed request: %w", err))
			return
		}
		if err := request.check(); err != nil {
			fail(w, http.StatusUnprocessableEntity, err)
			return
		}
		// A client that gives up waiting does not stop work that has begun: real services do not either.
		ctx := context.WithoutCancel(r.Context())
		a, repeated, err := db.once(ctx, r.Header.Get("Idempotency-Key"), raw, func(tx *sql.Tx) (answer, error) {
			result, err := work(ctx, tx, request)
			if err != nil {
				return answer{}, err
			}
			body, err := json.Marshal(result)
			return answer{http.StatusCreated, body}, err
		})
		switch {
		case errors.Is(err, errKeyReused):
			fail(w, http.StatusUnprocessableEntity, err)
			return
		case err != nil:
			fail(w, http.StatusInternalServerError, err)
			return
		case repeated:
			w.Header().Set("Idempotent-Replayed", "true")
		}
		write(w, a.status, a.body)
	}
}

func reply(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	write(w, status, body)
}

func fail(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has left is no concern of the service
}

// about names the customer and month that a request is about; every request of these services has them.
type about struct {
	Customer string `json:"customer"`
	Month    int    `json:"month"`
}

func (a about) check() error {
	if a.Customer == "" || len(a.Customer) > 100 {
		return errors.New("customer must have 1 to 100 characters")
	}
	if a.Month < 1 {
		return fmt.Errorf("month is %d: months count from 1", a.Month)
	}
	return nil
}
