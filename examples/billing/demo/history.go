package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/continuo-dev/continuo/pkg/events"
)

// history reads the whole history of a customer's run by the server's REST API, page by page.
func (p *play) history(ctx context.Context, customer string) ([]fact, error) {
	var all []fact
	address := fmt.Sprintf("%s/v1/workflows/%s/history", p.world.httpURL, url.PathEscape(p.runs[customer].ID()))
	for from := events.EventNumber(1); ; {
		var page struct {
			History json.RawMessage `json:"history"`
		}
		if err := ask(ctx, http.MethodGet, fmt.Sprintf("%s?from_event=%d", address, from), nil, &page); err != nil {
			return nil, err
		}
		_, records, err := events.UnmarshalHistory(page.History)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return all, nil
		}
		all = append(all, factsOf(records)...)
		from = records[len(records)-1].Last() + 1
	}
}

// factsOf takes from a history what the timeline needs.
func factsOf(records []*events.Record) []fact {
	var facts []fact
	for _, r := range records {
		for _, event := range r.Events {
			f := fact{kind: events.EventName(event), at: r.Time.Std()}
			switch e := event.(type) {
			case events.TaskScheduled:
				f.step, f.task = uint64(e.Step), string(e.Name)
			case events.TaskCompleted:
				f.step, f.attempt = uint64(e.Step), int(e.Attempt)
			case events.TaskFailed:
				f.step, f.attempt = uint64(e.Step), int(e.Attempt)
			default: // the timeline shows tasks
			}
			facts = append(facts, f)
		}
	}
	return facts
}
