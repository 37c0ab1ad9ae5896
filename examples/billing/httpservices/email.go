package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
)

const emailSchema = `
CREATE TABLE IF NOT EXISTS emails (
	id       INTEGER PRIMARY KEY,
	customer TEXT NOT NULL,
	subject  TEXT NOT NULL,
	body     TEXT NOT NULL
);
`

type emailRequest struct {
	Customer string `json:"customer"`
	Subject  string `json:"subject"`
	Body     string `json:"body"`
}

func (e emailRequest) check() error {
	if e.Customer == "" || e.Subject == "" {
		return errors.New("an email needs a customer and a subject")
	}
	return nil
}

// emailAPI: POST /emails puts an email into the outbox.
func emailAPI(mux *http.ServeMux, db *store) {
	mux.HandleFunc("POST /emails", post(db, func(ctx context.Context, tx *sql.Tx, e emailRequest) (any, error) {
		done, err := tx.ExecContext(ctx, `INSERT INTO emails (customer, subject, body) VALUES (?, ?, ?)`, e.Customer, e.Subject, e.Body)
		if err != nil {
			return nil, err
		}
		id, err := done.LastInsertId()
		return map[string]string{"id": fmt.Sprintf("em_%06d", id)}, err
	}))
}
