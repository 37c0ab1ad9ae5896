package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	apiv1 "github.com/continuo-dev/continuo/gen/continuo/api/v1"
	"github.com/continuo-dev/continuo/internal/inbox"
	"github.com/continuo-dev/continuo/internal/wire"
	"github.com/continuo-dev/continuo/pkg/events"
)

// presence is what all gateways announce of their workers.
type presence struct {
	mu       sync.Mutex
	sessions map[events.SessionID]*announced
}

// announced is what one gateway says.
type announced struct {
	workers map[events.WorkerID]*inbox.Worker
}

// followWorkers keeps presence current.
func (g *Gateway) followWorkers(ctx context.Context, reports inbox.Reports) {
	for {
		for _, r := range reports.Take(256) {
			g.workers.apply(r)
		}
		select {
		case <-reports.Ready():
		case <-ctx.Done():
			return
		}
	}
}

func (p *presence) apply(r inbox.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Gone {
		delete(p.sessions, r.Session)
		return
	}
	if len(r.Joined)+len(r.Left) == 0 {
		return
	}
	s := p.sessions[r.Session]
	if s == nil {
		s = &announced{workers: make(map[events.WorkerID]*inbox.Worker)}
		p.sessions[r.Session] = s
	}
	for _, w := range r.Joined {
		s.workers[w.ID] = &w
	}
	for _, id := range r.Left {
		delete(s.workers, id)
	}
}

// all returns the workers of all gateways, by queue, identity and id.
func (p *presence) all() []*inbox.Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*inbox.Worker
	for _, s := range p.sessions {
		all = slices.AppendSeq(all, maps.Values(s.workers))
	}
	slices.SortFunc(all, func(a, b *inbox.Worker) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// offersTask and offersWorkflow report whether a worker of the queue has code for a name, and whether any has for another
// queue.
func (p *presence) offersTask(queue events.TaskQueue, name events.TaskName) (here bool, elsewhere events.TaskQueue) {
	return p.offers(queue, func(w *inbox.Worker) []inbox.Offer { return w.Tasks }, string(name))
}

func (p *presence) offersWorkflow(queue events.TaskQueue, name events.WorkflowType) (here bool, elsewhere events.TaskQueue) {
	return p.offers(queue, func(w *inbox.Worker) []inbox.Offer { return w.Workflows }, string(name))
}

func (p *presence) offers(queue events.TaskQueue, of func(*inbox.Worker) []inbox.Offer, name string) (here bool, elsewhere events.TaskQueue) {
	for _, w := range p.all() {
		if !slices.ContainsFunc(of(w), func(o inbox.Offer) bool { return o.Name == name }) {
			continue
		}
		if w.Queue == queue {
			return true, ""
		}
		elsewhere = w.Queue
	}
	return false, elsewhere
}

// ListWorkers lists the workers connected now.
func (s service) ListWorkers(ctx context.Context, r *apiv1.ListWorkersRequest) (*apiv1.ListWorkersResponse, error) {
	held, err := s.stateOf(ctx)
	if err != nil {
		return nil, asStatus(err)
	}
	response := &apiv1.ListWorkersResponse{}
	for _, w := range s.workers.all() {
		if r.GetQueue() != "" && string(w.Queue) != r.GetQueue() {
			continue
		}
		info := &apiv1.WorkerInfo{
			WorkerId: string(w.ID), Identity: w.Identity, Build: string(w.Build), Sdk: w.SDK, Queue: string(w.Queue),
			TaskSlots: int32(w.TaskSlots), ActivationSlots: int32(w.ActivationSlots), Since: wire.ToTime(w.Since),
		}
		for _, o := range w.Tasks {
			info.Tasks = append(info.Tasks, o.Name)
		}
		for _, o := range w.Workflows {
			info.Workflows = append(info.Workflows, o.Name)
		}
		if w.Session == s.session {
			for _, h := range held {
				if h.ID == w.ID {
					info.RunningTasks, info.RunningActivations = int32(len(h.Tasks)), int32(len(h.Activations))
				}
			}
		}
		response.Workers = append(response.Workers, info)
	}
	return response, nil
}

// ListQueues lists the task queues known now.
func (s service) ListQueues(ctx context.Context, _ *apiv1.ListQueuesRequest) (*apiv1.ListQueuesResponse, error) {
	workers, err := s.ListWorkers(ctx, &apiv1.ListWorkersRequest{})
	if err != nil {
		return nil, err
	}
	queues := make(map[string]*apiv1.QueueInfo)
	queue := func(name string) *apiv1.QueueInfo {
		if queues[name] == nil {
			queues[name] = &apiv1.QueueInfo{Queue: name}
		}
		return queues[name]
	}
	for _, w := range workers.GetWorkers() {
		q := queue(w.GetQueue())
		q.Workers++
		q.FreeTaskSlots += max(0, w.GetTaskSlots()-w.GetRunningTasks())
		q.FreeActivationSlots += max(0, w.GetActivationSlots()-w.GetRunningActivations())
	}
	if s.deps.Backlog != nil {
		for _, b := range s.deps.Backlog() {
			q := queue(string(b.Queue))
			q.WaitingTasks, q.WaitingActivations = b.Tasks, b.Activations
		}
	}
	response := &apiv1.ListQueuesResponse{}
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		response.Queues = append(response.Queues, queues[name])
	}
	return response, nil
}

// GetServer tells what this server is.
func (s service) GetServer(context.Context, *apiv1.GetServerRequest) (*apiv1.GetServerResponse, error) {
	return &apiv1.GetServerResponse{
		Version: s.options.Version, Build: s.options.Build, Partitions: int32(s.deps.Partitions),
		MaxPayloadBytes: int64(s.options.MaxPayloadBytes), MinProtocol: wire.MinProtocol, MaxProtocol: wire.MaxProtocol,
	}, nil
}
