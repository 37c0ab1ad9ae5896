// Package api is what the service workers share: one way to call an existing HTTP API from a task. It decides which
// answers are worth another attempt, and it makes attempts safe to repeat.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/continuo-dev/continuo/pkg/sdk/task"
)

// Timeout bounds one call; a service that hangs longer is tried again.
const Timeout = 2 * time.Second

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Client calls one HTTP API. Safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// New gives a client of the API at base, such as "http://127.0.0.1:7501".
func New(base string) *Client {
	return &Client{base, &http.Client{Timeout: Timeout}}
}

// Get asks for path and decodes the JSON answer into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON and decodes the JSON answer into out.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return task.Permanent(err)
	}
	return c.call(ctx, http.MethodPost, path, body, out)
}

// call makes one attempt. An error means: no answer, or one of "try again" (5xx, 408, 429). The task's retry policy
// decides when; a Retry-After of the service comes first. Any other refusal is permanent: the same request would be
// refused again.
//
// Every attempt of a task carries the same Idempotency-Key, the id of the task. So an attempt whose answer was lost can
// be repeated although nobody knows whether the service did the work.
func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return task.Permanent(err)
	}
	if method != http.MethodGet {
		request.Header.Set("Content-Type", "application/json")
		if id := task.Info(ctx).ID; !id.Run.IsZero() { // outside of a task a call has no identity to repeat
			request.Header.Set("Idempotency-Key", id.String())
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read, or is of no interest
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	switch status := response.StatusCode; {
	case status < 300:
		if err := json.Unmarshal(answer, out); err != nil {
			return fmt.Errorf("%s %s: answer: %w", method, path, err)
		}
		return nil
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		err := refusal(method, path, response.Status, answer)
		if seconds, convErr := strconv.Atoi(response.Header.Get("Retry-After")); convErr == nil && seconds >= 0 {
			return task.RetryAfter(err, time.Duration(seconds)*time.Second)
		}
		return err
	default:
		return task.Permanent(refusal(method, path, response.Status, answer))
	}
}

// refusal is the error for an answer that is not a success, with the service's own words when it gave any.
func refusal(method, path, status string, answer []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Error != "" {
		return fmt.Errorf("%s %s: %s: %s", method, path, status, said.Error)
	}
	return fmt.Errorf("%s %s: %s", method, path, status)
}
