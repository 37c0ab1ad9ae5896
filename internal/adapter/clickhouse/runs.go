package clickhouse

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/row"
	"github.com/continuo-dev/continuo/pkg/events"
)

// details are what no column has, as JSON: the failure with its causes, what an open run waits for, and of each view
// everything but its name and bytes.
type details struct {
	Failure    *events.Failure  `json:"failure,omitempty"`
	Tasks      []row.Task       `json:"tasks,omitempty"`
	Timers     []row.Timer      `json:"timers,omitempty"`
	Signals    []row.SignalWait `json:"signals,omitempty"`
	Activation *row.Activation  `json:"activation,omitempty"`
	Inbox      []row.Inbox      `json:"inbox,omitempty"`
	Views      []row.View       `json:"views,omitempty"`
}

func (d *details) empty() bool {
	return d.Failure == nil && d.Activation == nil && len(d.Tasks)+len(d.Timers)+len(d.Signals)+len(d.Inbox)+len(d.Views) == 0
}

// runColumns collects rows of the table workflows.
type runColumns struct {
	namespace, workflow, kind, status, queue, quarantine                      []string
	run                                                                       []uuid.UUID
	started, ended, cancelRequested                                           []time.Time
	partition                                                                 []uint16
	version, unread, scheduled, continued, rank                               []uint64
	result, resultEncoding, resultBlob, errorCode, errorText, detailsAsStored []string
	resultBlobBytes                                                           []int64
	viewNames, viewValues                                                     [][]string
	deleted                                                                   []uint8
}

func (c *runColumns) add(r *row.Run, rank uint64, deleted bool) error {
	c.namespace, c.workflow, c.kind = append(c.namespace, string(r.Namespace)), append(c.workflow, string(r.WorkflowID)), append(c.kind, string(r.Type))
	c.run = append(c.run, uuid.UUID(r.RunID))
	c.status, c.queue, c.quarantine = append(c.status, r.Status.String()), append(c.queue, string(r.Queue)), append(c.quarantine, r.Quarantine)
	c.started, c.ended = append(c.started, timeOf(r.Started)), append(c.ended, timeOf(r.Ended))
	c.cancelRequested = append(c.cancelRequested, timeOf(r.CancelRequested))
	c.partition, c.version, c.unread = append(c.partition, uint16(r.Partition)), append(c.version, uint64(r.Version)), append(c.unread, r.Unread)
	c.scheduled, c.continued, c.rank = append(c.scheduled, r.TasksScheduled), append(c.continued, r.Continued), append(c.rank, rank)
	c.result, c.resultEncoding = append(c.result, string(r.Result.Data)), append(c.resultEncoding, r.Result.Encoding)
	c.resultBlob, c.resultBlobBytes = append(c.resultBlob, r.Result.Blob), append(c.resultBlobBytes, r.Result.BlobBytes)
	code, message := "", ""
	if r.Failure != nil {
		code, message = r.Failure.Code, r.Failure.Message
	}
	c.errorCode, c.errorText = append(c.errorCode, code), append(c.errorText, message)
	d := details{Failure: r.Failure, Tasks: r.Tasks, Timers: r.Timers, Signals: r.Signals, Activation: r.Activation, Inbox: r.Inbox}
	names, values := make([]string, 0, len(r.Views)), make([]string, 0, len(r.Views))
	for _, v := range r.Views {
		names, values = append(names, string(v.Name)), append(values, string(v.Value.Data))
		v.Name, v.Value.Data = "", nil
		d.Views = append(d.Views, v)
	}
	c.viewNames, c.viewValues = append(c.viewNames, names), append(c.viewValues, values)
	var stored []byte
	if !d.empty() {
		var err error
		if stored, err = json.Marshal(d); err != nil {
			return fmt.Errorf("run %s: %w", r.RunID, err)
		}
	}
	c.detailsAsStored = append(c.detailsAsStored, string(stored))
	flag := uint8(0)
	if deleted {
		flag = 1
	}
	c.deleted = append(c.deleted, flag)
	return nil
}

func (c *runColumns) columns() []column {
	return []column{
		{"namespace", symbol, c.namespace},
		{"workflow_id", text, c.workflow},
		{"run_id", uuidType, c.run},
		{"type", symbol, c.kind},
		{"status", symbol, c.status},
		{"started", micros, c.started},
		{"ended", micros, c.ended},
		{"queue", symbol, c.queue},
		{"partition", unsigned16, c.partition},
		{"version", unsigned64, c.version},
		{"cancel_requested", micros, c.cancelRequested},
		{"quarantine", text, c.quarantine},
		{"unread", unsigned64, c.unread},
		{"tasks_scheduled", unsigned64, c.scheduled},
		{"continued", unsigned64, c.continued},
		{"result", text, c.result},
		{"result_encoding", symbol, c.resultEncoding},
		{"result_blob", text, c.resultBlob},
		{"result_blob_bytes", signed64, c.resultBlobBytes},
		{"error_code", symbol, c.errorCode},
		{"error", text, c.errorText},
		{"view_names", symbols, c.viewNames},
		{"view_values", texts, c.viewValues},
		{"details", text, c.detailsAsStored},
		{"rank", unsigned64, c.rank},
		{"deleted", unsigned8, c.deleted},
	}
}

// What lists select, and all of a run.
const (
	summary = "namespace, workflow_id, run_id, type, status, started, ended, queue, partition, version, cancel_requested, quarantine, unread, tasks_scheduled, continued"
	whole   = summary + ", result, result_encoding, result_blob, result_blob_bytes, view_names, view_values, details"
)

type scanner interface{ Scan(dest ...any) error }

// scanSummary reads a row as lists have it, then what else was selected.
func scanSummary(from scanner, more ...any) (r row.Run, err error) {
	var namespace, workflow, kind, status, queue string
	var id uuid.UUID
	var started, ended, cancelRequested time.Time
	var partition uint16
	var version uint64
	err = from.Scan(append([]any{
		&namespace, &workflow, &id, &kind, &status, &started, &ended, &queue, &partition, &version, &cancelRequested, &r.Quarantine, &r.Unread,
		&r.TasksScheduled, &r.Continued,
	}, more...)...)
	if err != nil {
		return r, err
	}
	r.Namespace, r.WorkflowID, r.RunID, r.Type = events.Namespace(namespace), events.WorkflowID(workflow), events.RunID(id), events.WorkflowType(kind)
	r.Status, _ = events.ParseStatus(status) // another name is that of the unknown status
	r.Queue, r.Partition, r.Version = events.TaskQueue(queue), events.Partition(partition), events.EventNumber(version)
	r.Started, r.Ended = events.Time(started.UnixMicro()), events.Time(ended.UnixMicro())
	r.CancelRequested = events.Time(cancelRequested.UnixMicro())
	return r, nil
}

// scanRun reads a whole row.
func scanRun(from scanner) (row.Run, error) {
	var data, stored string
	var result events.Payload
	var names, values []string
	r, err := scanSummary(from, &data, &result.Encoding, &result.Blob, &result.BlobBytes, &names, &values, &stored)
	if err != nil {
		return r, err
	}
	r.Result = result
	if data != "" {
		r.Result.Data = []byte(data)
	}
	var d details
	if stored != "" {
		if err := json.Unmarshal([]byte(stored), &d); err != nil {
			return r, fmt.Errorf("%w: the details of run %s: %w", readmodel.ErrDamaged, r.RunID, err)
		}
	}
	if len(names) != len(d.Views) || len(values) != len(d.Views) {
		return r, fmt.Errorf("%w: run %s has %d names, %d values and %d details of views", readmodel.ErrDamaged, r.RunID, len(names), len(values), len(d.Views))
	}
	for i := range d.Views {
		d.Views[i].Name = events.ViewName(names[i])
		if values[i] != "" {
			d.Views[i].Value.Data = []byte(values[i])
		}
	}
	r.Failure, r.Tasks, r.Timers, r.Signals = d.Failure, d.Tasks, d.Timers, d.Signals
	r.Activation, r.Inbox, r.Views = d.Activation, d.Inbox, d.Views
	return r, nil
}
