package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
)

const invoiceSchema = `
CREATE TABLE IF NOT EXISTS invoices (
	number       INTEGER PRIMARY KEY,
	customer     TEXT    NOT NULL,
	month        INTEGER NOT NULL,
	amount_cents INTEGER NOT NULL,
	payment      TEXT    NOT NULL
);
`

type invoiceRequest struct {
	about
	AmountCents int    `json:"amount_cents"`
	Payment     string `json:"payment"` // the reference printed on the invoice; this service does not look it up
}

func (i invoiceRequest) check() error {
	if i.Payment == "" {
		return errors.New("payment is empty: an invoice names the payment it confirms")
	}
	return i.about.check()
}

// invoiceAPI: POST /invoices writes an invoice and gives its number.
func invoiceAPI(mux *http.ServeMux, db *store) {
	mux.HandleFunc("POST /invoices", post(db, func(ctx context.Context, tx *sql.Tx, i invoiceRequest) (any, error) {
		done, err := tx.ExecContext(ctx, `INSERT INTO invoices (customer, month, amount_cents, payment) VALUES (?, ?, ?, ?)`,
			i.Customer, i.Month, i.AmountCents, i.Payment)
		if err != nil {
			return nil, err
		}
		number, err := done.LastInsertId()
		return map[string]string{"number": fmt.Sprintf("INV-%06d", number)}, err
	}))
}
