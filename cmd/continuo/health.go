package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/continuo-dev/continuo/internal/config"
	"github.com/continuo-dev/continuo/pkg/sdk/client"
)

func newHealth(a *app) *cobra.Command {
	var addr string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a process whether it is ready, and exit with 1 when it is not",
		Long: "Asks /readyz of a server or of a service over a broker. It is the health check of containers: it runs with the same environment as\n" +
			"the process that it asks, which it finds by CONTINUO_HTTP_ADDR. It uses TLS with --tls or --ca-file, or when the environment has\n" +
			"CONTINUO_TLS_CERT_FILE. No token is needed.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.health(cmd.Context(), addr, patience)
		},
	}
	cmd.Flags().StringVar(&addr, "http-addr", fromEnv("CONTINUO_HTTP_ADDR", config.Default().HTTPAddr), "HTTP address of the process (CONTINUO_HTTP_ADDR)")
	cmd.Flags().DurationVar(&patience, "timeout", 2*time.Second, "how long to wait for the answer")
	return cmd
}

// health prints what the components of a process say of themselves. It fails when one is not ready or nobody answers.
func (a *app) health(ctx context.Context, addr string, patience time.Duration) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return usage("--http-addr is %q; use host:port, such as 127.0.0.1:7480", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // who binds everywhere is here, too
	}
	security, err := client.TLSConfig(a.tls || os.Getenv("CONTINUO_TLS_CERT_FILE") != "", a.caFile)
	if err != nil {
		return usage("--ca-file: %s", err)
	}
	scheme := "http"
	if security != nil {
		scheme = "https"
	}
	transport := &http.Transport{TLSClientConfig: security}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", http.NoBody)
	if err != nil {
		return usage("--http-addr is %q: %s", addr, err)
	}
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	return a.printHealth(answer.StatusCode, text)
}

func (a *app) printHealth(status int, text []byte) error {
	var document struct {
		Status     string `json:"status"`
		Components []struct {
			Name   string `json:"name"`
			Ready  bool   `json:"ready"`
			Detail string `json:"detail"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil || document.Status == "" {
		if status == http.StatusBadRequest {
			return errors.New("what answers there may speak TLS: use --tls, or --ca-file with the certificates to trust")
		}
		return fmt.Errorf("what answers there with status %d is no process of Continuo", status)
	}
	if a.output == "json" {
		a.line(strings.TrimSpace(string(text)))
	} else {
		var rows [][]string
		for _, c := range document.Components {
			ready := "ready"
			if !c.Ready {
				ready = "not ready"
			}
			rows = append(rows, []string{c.Name, ready, c.Detail})
		}
		a.rows([]string{"COMPONENT", "STATE", "DETAIL"}, rows)
	}
	if status != http.StatusOK {
		return errors.New("not ready")
	}
	return nil
}
