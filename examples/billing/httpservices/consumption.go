package main

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
)

const consumptionSchema = `
CREATE TABLE IF NOT EXISTS readings (
	customer TEXT    NOT NULL,
	month    INTEGER NOT NULL,
	units    INTEGER NOT NULL,
	PRIMARY KEY (customer, month)
) WITHOUT ROWID;
`

// centsPerUnit is the tariff.
const centsPerUnit = 15

// usage is what a customer used in one month and what that costs.
type usage struct {
	about
	Units       int `json:"units"`
	AmountCents int `json:"amount_cents"`
}

// consumptionAPI: GET /customers/{customer}/usage/{month}. The meter is read when it is asked for first; from
// then on the reading of a month never changes.
func consumptionAPI(mux *http.ServeMux, db *store) {
	mux.HandleFunc("GET /customers/{customer}/usage/{month}", func(w http.ResponseWriter, r *http.Request) {
		month, err := strconv.Atoi(r.PathValue("month"))
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("month must be a number: %w", err))
			return
		}
		u := usage{about: about{Customer: r.PathValue("customer"), Month: month}}
		if err := u.check(); err != nil {
			fail(w, http.StatusUnprocessableEntity, err)
			return
		}
		// The update that changes nothing makes SQLite return the row that was there first.
		err = db.db.QueryRowContext(r.Context(), `INSERT INTO readings VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET units = units RETURNING units`, u.Customer, u.Month, readMeter(u.about)).Scan(&u.Units)
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		u.AmountCents = u.Units * centsPerUnit
		reply(w, http.StatusOK, u)
	})
}

// readMeter stands for the meter in the customer's house: 100 to 499 units a month.
func readMeter(a about) int {
	sum := fnv.New32a()
	fmt.Fprintf(sum, "%s/%d", a.Customer, a.Month)
	return 100 + int(sum.Sum32()%400)
}
