package pulsar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/pkg/events"
)

// admin asks the broker's web service.
type admin struct {
	base string // ends before /admin
	http *http.Client
}

// statusError is an answer with a status of 300 or above.
type statusError struct {
	status int
	method string
	path   string
	reason string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.method, e.path, e.status, http.StatusText(e.status), e.reason)
}

// is reports whether an error is an answer with one of these statuses.
func is(err error, statuses ...int) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && slices.Contains(statuses, e.status)
}

func forbidden(err error) bool { return is(err, http.StatusUnauthorized, http.StatusForbidden) }

// stranger reports whether the broker does not know who asks. It says 401 to that and to a missing right alike.
func stranger(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == http.StatusUnauthorized && strings.Contains(e.reason, "Authentication")
}

// do sends body as JSON, unless it is nil, and decodes the answer into out, unless that is nil. It returns the header.
func (a *admin) do(ctx context.Context, method, path string, body, out any) (http.Header, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+"/admin/v2/"+path, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if _, ok := body.(partitionedTopic); ok {
		request.Header.Set("Content-Type", "application/vnd.partitioned-topic-metadata+json")
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		reason := struct{ Reason string }{}
		if json.Unmarshal(text, &reason) != nil || reason.Reason == "" {
			reason.Reason = plain(string(text))
		}
		return nil, &statusError{answer.StatusCode, method, path, reason.Reason}
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return nil, fmt.Errorf("%s %s: the answer is not what Pulsar answers (is the admin URL right?): %w", method, path, err)
		}
	}
	return answer.Header, nil
}

// plain is the title of a page, or the beginning of another text.
func plain(text string) string {
	if _, rest, found := strings.Cut(text, "<title>"); found {
		text, _, _ = strings.Cut(rest, "</title>")
	}
	return strings.TrimSpace(text[:min(len(text), 200)])
}

// partitionedTopic is the metadata of a topic.
type partitionedTopic struct {
	Partitions int               `json:"partitions"`
	Properties map[string]string `json:"properties,omitempty"`
}

// messageID names an entry. Without a batch index it names a message that is alone in its entry.
type messageID struct {
	Ledger    int64  `json:"ledgerId"`
	Entry     int64  `json:"entryId"`
	Partition int    `json:"partitionIndex"`
	Batch     *int32 `json:"batchIndex,omitempty"`
}

// internals of a partition: its ledgers in order and the cursors of its subscriptions.
type internals struct {
	Entries       int64    `json:"numberOfEntries"`
	LastConfirmed string   `json:"lastConfirmedEntry"`
	Ledgers       []ledger `json:"ledgers"`
	Cursors       map[string]struct {
		MarkDelete string `json:"markDeletePosition"`
	} `json:"cursors"`
	CurrentEntries int64 `json:"currentLedgerEntries"`
}

type ledger struct {
	ID      int64 `json:"ledgerId"`
	Entries int64 `json:"entries"`
}

// parsePosition reads "ledger:entry".
func parsePosition(text string) (ledger, entry int64, err error) {
	l, e, found := strings.Cut(text, ":")
	ledger, err1 := strconv.ParseInt(l, 10, 64)
	entry, err2 := strconv.ParseInt(e, 10, 64)
	if !found || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("the broker's position %q is not ledger:entry", text)
	}
	return ledger, entry, nil
}

// entries returns how many entries a ledger has, and false when it is not there.
func (i *internals) entries(ledger int64) (int64, bool) {
	for n, l := range i.Ledgers {
		if l.ID == ledger {
			if n == len(i.Ledgers)-1 { // the open one is counted elsewhere
				return max(l.Entries, i.CurrentEntries), true
			}
			return l.Entries, true
		}
	}
	return 0, false
}

func (l *Log) partitionPath(t brokerlog.Topic, p events.Partition) string {
	return fmt.Sprintf("persistent/%s/%s/%s-partition-%d", l.options.Tenant, l.options.Namespace, t, p)
}

func (l *Log) internals(ctx context.Context, t brokerlog.Topic, p events.Partition) (*internals, error) {
	var i internals
	_, err := l.admin.do(ctx, http.MethodGet, l.partitionPath(t, p)+"/internalStats", nil, &i)
	return &i, err
}

// lastMessage returns the end of a partition; its entry is -1 when there is none.
func (l *Log) lastMessage(ctx context.Context, t brokerlog.Topic, p events.Partition) (messageID, error) {
	var id messageID
	_, err := l.admin.do(ctx, http.MethodGet, l.partitionPath(t, p)+"/lastMessageId", nil, &id)
	return id, err
}

// isBeginning reports whether an entry is a mark of [beginning], and the index of the last message in it.
func (l *Log) isBeginning(ctx context.Context, t brokerlog.Topic, p events.Partition, ledger, entry int64) (marked bool, index int32, err error) {
	header, err := l.admin.do(ctx, http.MethodGet, fmt.Sprintf("%s/ledger/%d/entry/%d", l.partitionPath(t, p), ledger, entry), nil, nil)
	if err != nil {
		return false, 0, err
	}
	if text := header.Get("X-Pulsar-Property"); text != "" {
		var properties map[string]string
		if err := json.Unmarshal([]byte(text), &properties); err != nil {
			return false, 0, fmt.Errorf("properties of %d:%d: %w", ledger, entry, err)
		}
		marked = properties[beginning] != ""
	}
	if n, err := strconv.ParseInt(header.Get("X-Pulsar-Num-Batch-Message"), 10, 32); err == nil {
		index = int32(n) - 1
	}
	return marked, index, nil
}

func subscriptionPath(partition, subscription string) string {
	return partition + "/subscription/" + url.PathEscape(subscription)
}
