// Package billing says what the four services of monthly billing can do. They are plain Go interfaces: a workflow
// calls them without knowing who implements them, a service worker implements one of them without knowing who calls
// it, and nothing here knows of Continuo.
//
// The workflow is in the package monthly, the implementations are in the packages below serviceworkers.
package billing

import "context"

// Month is a month of a subscription; the first one is 1.
type Month int

// ConsumptionService knows what customers use.
type ConsumptionService interface {
	// Get gives what a customer used in a month that is over. The answer for a month is always the same.
	Get(ctx context.Context, period Period) (Usage, error)
}

// PaymentService takes money.
type PaymentService interface {
	// Request charges a customer once, however often one task asks for it.
	Request(ctx context.Context, charge Charge) (Payment, error)
}

// InvoiceService writes invoices.
type InvoiceService interface {
	// Create writes the invoice for a payment that was made.
	Create(ctx context.Context, order Order) (Invoice, error)
}

// EmailService writes to customers.
type EmailService interface {
	// Send hands an email over for delivery.
	Send(ctx context.Context, email Email) error
}

// Period is one month of one customer.
type Period struct {
	Customer string `json:"customer"`
	Month    Month  `json:"month"`
}

// Usage is what a customer used in a month, and what that costs.
type Usage struct {
	Units       int `json:"units"`
	AmountCents int `json:"amount_cents"`
}

// Charge asks for the money for one month. AmountCents must be positive.
type Charge struct {
	Customer    string `json:"customer"`
	Month       Month  `json:"month"`
	AmountCents int    `json:"amount_cents"`
}

// Payment is money that was taken. ID is the payment service's name for it.
type Payment struct {
	ID          string `json:"id"`
	AmountCents int    `json:"amount_cents"`
}

// Order says what an invoice is about. PaymentID is printed on it.
type Order struct {
	Customer    string `json:"customer"`
	Month       Month  `json:"month"`
	AmountCents int    `json:"amount_cents"`
	PaymentID   string `json:"payment"`
}

// Invoice is an invoice that was written.
type Invoice struct {
	Number string `json:"number"`
}

// Email is a message to a customer, in plain text.
type Email struct {
	Customer string `json:"customer"`
	Subject  string `json:"subject"`
	Body     string `json:"body"`
}
