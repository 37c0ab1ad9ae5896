// Command service-worker lends Continuo the four services of billing: it takes tasks from the server and calls the HTTP
// APIs. It knows nothing of the process that the tasks belong to. One process may serve them all, as here, or one each:
// a service whose URL is not given is not served.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/continuo-dev/continuo/examples/billing"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/consumption"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/email"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/invoice"
	"github.com/continuo-dev/continuo/examples/billing/serviceworkers/payment"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
	"github.com/continuo-dev/continuo/pkg/sdk/flow"
	"github.com/continuo-dev/continuo/pkg/sdk/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "service-worker:", err)
		os.Exit(1)
	}
}

// run works until ctx ends, then finishes the tasks in hand.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("service-worker", flag.ContinueOnError)
	server := flags.String("server", "127.0.0.1:7481", "gRPC address of the Continuo server")
	consumptionURL := flags.String("consumption", "", "`URL` of the consumption service")
	paymentURL := flags.String("payment", "", "`URL` of the payment service")
	invoiceURL := flags.String("invoice", "", "`URL` of the invoice service")
	emailURL := flags.String("email", "", "`URL` of the email service")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var services []worker.Option
	if *consumptionURL != "" {
		services = append(services, flow.Service[billing.ConsumptionService](consumption.New(*consumptionURL)))
	}
	if *paymentURL != "" {
		services = append(services, flow.Service[billing.PaymentService](payment.New(*paymentURL)))
	}
	if *invoiceURL != "" {
		services = append(services, flow.Service[billing.InvoiceService](invoice.New(*invoiceURL)))
	}
	if *emailURL != "" {
		services = append(services, flow.Service[billing.EmailService](email.New(*emailURL)))
	}
	if len(services) == 0 {
		return errors.New("no service to work for: give the URL of at least one, such as --payment http://127.0.0.1:7502")
	}
	options, err := client.FromEnv() // TLS and token, for a server that wants them
	if err != nil {
		return err
	}
	c, err := client.Dial(*server, options)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is in flight after the worker has drained
	w, err := worker.New(c, services...)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
