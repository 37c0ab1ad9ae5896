package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/pkg/events"
)

func newHistory(a *app) *cobra.Command {
	var (
		t      target
		from   uint64
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "Print the events of a run",
		Long: "Prints the events of a run, one on a line. With --output json it prints the whole history as one document, in the canonical\n" +
			"form that flowtest.Replay reads: keep it beside a workflow's tests to know that a change of its code fits open runs.",
		Example: "  continuo workflow history billing/17 --follow\n" +
			"  continuo workflow history billing/17 --output json > testdata/billing-17.json",
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, done, err := a.connect()
			if err != nil {
				return err
			}
			defer done()
			return a.history(cmd.Context(), newHistoryPages(api, &apiv1.GetHistoryRequest{
				Namespace: t.namespace, WorkflowId: args[0], RunId: t.runID, FromEvent: from,
			}, follow))
		},
	}
	t.flags(cmd)
	cmd.Flags().Uint64Var(&from, "from", 1, "number of the first event; a history that is to be replayed begins at 1")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for more events until the run has ended")
	return cmd
}

// historyPages reads the history of a run, page by page.
type historyPages struct {
	api     apiv1.WorkflowServiceClient
	request *apiv1.GetHistoryRequest
	follow  bool
	over    bool
}

func newHistoryPages(api apiv1.WorkflowServiceClient, request *apiv1.GetHistoryRequest, follow bool) *historyPages {
	if follow {
		request.Wait = durationpb.New(waitStep) // a page that has events does not wait
	}
	return &historyPages{api: api, request: request, follow: follow}
}

// next returns the next page. After the last one, which may have no records, over is set.
func (h *historyPages) next(ctx context.Context) (events.HistoryInfo, []*events.Record, error) {
	answer, err := h.api.GetHistory(ctx, h.request)
	if err != nil {
		return events.HistoryInfo{}, nil, err
	}
	info, records, err := events.UnmarshalHistory(answer.GetHistory().GetData())
	if err != nil {
		return events.HistoryInfo{}, nil, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	h.request.RunId = answer.GetRunId() // no newer run, should one start meanwhile
	h.request.FromEvent = answer.GetNextEvent()
	h.over = answer.GetNextEvent() == 0 || (len(records) == 0 && !h.follow)
	return info, records, nil
}

func (a *app) history(ctx context.Context, h *historyPages) error {
	if a.output == "json" {
		return a.historyDocument(ctx, h)
	}
	return a.historyTable(ctx, h)
}

// historyDocument prints one document of all pages.
func (a *app) historyDocument(ctx context.Context, h *historyPages) error {
	var (
		info    events.HistoryInfo
		records []*events.Record
	)
	for !h.over {
		newest, page, err := h.next(ctx)
		if err != nil {
			return err
		}
		info = newest
		for _, r := range page {
			records = join(records, r)
		}
	}
	document, err := events.MarshalHistory(info, records)
	if err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	_, err = a.stdout.Write(document)
	return err
}

// join appends a record, to the one before when both are parts of one: where pages end is not seen in the document.
func join(records []*events.Record, r *events.Record) []*events.Record {
	if len(records) > 0 {
		last := records[len(records)-1]
		if last.Partition == r.Partition && last.Seq == r.Seq && last.Last()+1 == r.First && last.Unknown == nil && r.Unknown == nil {
			last.Events = append(last.Events, r.Events...)
			return records
		}
	}
	return append(records, r)
}

// historyTable prints a line for each event as it comes.
func (a *app) historyTable(ctx context.Context, h *historyPages) error {
	width := 0
	for _, kind := range events.EventKinds() {
		width = max(width, len(kind.Name))
	}
	_, _ = fmt.Fprintf(a.stdout, "%5s  %-*s  %-*s  %s\n", "EVENT", len(timeLayout), "TIME", width, "KIND", "WHAT")
	for !h.over {
		_, page, err := h.next(ctx)
		if err != nil {
			return err
		}
		for _, r := range page {
			for i, e := range r.Events {
				_, _ = fmt.Fprintf(a.stdout, "%5d  %s  %-*s  %s\n", uint64(r.First)+uint64(i), moment(r.Time), width, events.EventName(e), summary(e))
			}
		}
	}
	return nil
}

const timeLayout = "2006-01-02 15:04:05.000"

// moment returns a time in the zone of whoever reads it.
func moment(t events.Time) string { return t.Std().In(time.Local).Format(timeLayout) }
