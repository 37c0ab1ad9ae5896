package pulsar

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/continuo-dev/continuo/internal/clock"
)

// batches is a producer of the client's that notes when it is told to send what it keeps. That arrives 4 ms later.
type batches struct {
	pulsar.Producer
	begun time.Time

	mu   sync.Mutex
	kept []func(pulsar.MessageID, *pulsar.ProducerMessage, error)
	sent []string
}

func (p *batches) SendAsync(_ context.Context, _ *pulsar.ProducerMessage, told func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, told)
}

func (p *batches) FlushWithCtx(context.Context) error {
	p.mu.Lock()
	batch := p.kept
	p.kept = nil
	p.sent = append(p.sent, fmt.Sprintf("%d at %v", len(batch), time.Since(p.begun)))
	p.mu.Unlock()
	<-time.After(4 * time.Millisecond)
	for _, told := range batch {
		told(nil, nil, nil)
	}
	return nil
}

func (p *batches) Close() {}

// bubble is a clock of the time in a bubble.
type bubble struct {
	clock.Clock
	begun time.Time
}

func (b bubble) Boot() time.Duration { return time.Since(b.begun) }

func TestMessagesGather(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at   []int // when messages are handed over, in milliseconds
		want []string
	}{
		"each alone":                            {[]int{0, 10, 20}, []string{"1 at 0s", "1 at 10ms", "1 at 20ms"}},
		"while one is on its way":               {[]int{0, 1, 2, 3}, []string{"1 at 0s", "3 at 4ms"}},
		"after two, one alone, for 4 ms":        {[]int{0, 1, 2, 10, 20}, []string{"1 at 0s", "2 at 4ms", "1 at 14ms", "1 at 20ms"}},
		"after two, two":                        {[]int{0, 1, 2, 10, 11, 20}, []string{"1 at 0s", "2 at 4ms", "2 at 11ms", "1 at 24ms"}},
		"after two, two while those are coming": {[]int{0, 1, 2, 6, 7}, []string{"1 at 0s", "2 at 4ms", "2 at 8ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				producer := &batches{begun: now}
				l := &Log{options: Options{Clock: bubble{clock.Real(), now}, MaxPending: 100}, parts: map[interface{ Close() }]struct{}{}}
				l.ctx, l.cancel = context.WithCancel(t.Context())
				a := newAppender(l, "commands", 0, producer, true)
				told := make(chan error, len(test.at))
				for _, at := range test.at {
					<-time.After(time.Duration(at)*time.Millisecond - time.Since(now))
					a.Append(t.Context(), []byte("m"), func(err error) { told <- err })
				}
				for range test.at {
					if err := <-told; err != nil {
						t.Error(err)
					}
				}
				producer.mu.Lock()
				defer producer.mu.Unlock()
				if !slices.Equal(producer.sent, test.want) {
					t.Errorf("batches %v, want %v", producer.sent, test.want)
				}
				a.Close()
				l.cancel()
				l.work.Wait()
			})
		})
	}
}
