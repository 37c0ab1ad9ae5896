package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A customer may be charged twice for a month here: nothing but the Idempotency-Key prevents it. Otherwise the
// ledger could not show a double charge.
const paymentSchema = `
CREATE TABLE IF NOT EXISTS charges (
	id            INTEGER PRIMARY KEY,
	customer      TEXT    NOT NULL,
	month         INTEGER NOT NULL,
	amount_cents  INTEGER NOT NULL,
	key           TEXT    NOT NULL,
	charged_at_ms INTEGER NOT NULL
);
`

type chargeRequest struct {
	about
	AmountCents int `json:"amount_cents"`
}

func (c chargeRequest) check() error {
	if c.AmountCents <= 0 {
		return fmt.Errorf("amount_cents is %d: a charge must be positive", c.AmountCents)
	}
	return c.about.check()
}

// charge is one line of the ledger.
type charge struct {
	ID int64 `json:"id"`
	chargeRequest
	Key         string `json:"key"`
	ChargedAtMs int64  `json:"charged_at_ms"`
	Repeats     int    `json:"repeats"` // calls with the same key that were answered without a new charge
}

// paymentAPI: POST /charges takes the money.
func paymentAPI(mux *http.ServeMux, db *store) {
	mux.HandleFunc("POST /charges", func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		post(db, func(ctx context.Context, tx *sql.Tx, c chargeRequest) (any, error) {
			done, err := tx.ExecContext(ctx, `INSERT INTO charges (customer, month, amount_cents, key, charged_at_ms) VALUES (?, ?, ?, ?, ?)`,
				c.Customer, c.Month, c.AmountCents, key, time.Now().UnixMilli())
			if err != nil {
				return nil, err
			}
			id, err := done.LastInsertId()
			return map[string]any{"id": fmt.Sprintf("ch_%06d", id), "amount_cents": c.AmountCents}, err
		})(w, r)
	})
}

// ledgerPage bounds one answer of the ledger.
const ledgerPage = 1000

// paymentLedger: GET /ledger?after=ID shows the charges ever made, oldest first, at most ledgerPage at a time.
func paymentLedger(mux *http.ServeMux, db *store) {
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, r *http.Request) {
		after := int64(0)
		if text := r.URL.Query().Get("after"); text != "" {
			var err error
			if after, err = strconv.ParseInt(text, 10, 64); err != nil {
				fail(w, http.StatusBadRequest, fmt.Errorf("after must be the id of a charge: %w", err))
				return
			}
		}
		charges, err := readLedger(r.Context(), db, after)
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		reply(w, http.StatusOK, map[string]any{"charges": charges})
	})
}

func readLedger(ctx context.Context, db *store, after int64) (charges []charge, err error) {
	rows, err := db.db.QueryContext(ctx, `SELECT id, customer, month, amount_cents, charges.key, charged_at_ms, COALESCE(repeats, 0)
		FROM charges LEFT JOIN answers ON answers.key = charges.key WHERE id > ? ORDER BY id LIMIT ?`, after, ledgerPage)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	charges = []charge{}
	for rows.Next() {
		var c charge
		if err := rows.Scan(&c.ID, &c.Customer, &c.Month, &c.AmountCents, &c.Key, &c.ChargedAtMs, &c.Repeats); err != nil {
			return nil, err
		}
		charges = append(charges, c)
	}
	return charges, rows.Err()
}
