package pulsar_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/continuo-dev/continuo/internal/brokerlog"
	"github.com/continuo-dev/continuo/internal/brokerlog/fold"
	server "github.com/continuo-dev/continuo/internal/testserver/pulsar"
)

// BenchmarkAppend appends messages of 300 bytes to one partition, with some on their way at once; the broker syncs its journal.
func BenchmarkAppend(b *testing.B) {
	s := server.Start(b, server.Options{Peak: true})
	for _, topic := range []brokerlog.Topic{brokerlog.Events, brokerlog.Commands} {
		for _, window := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("%s/window=%d", topic, window), func(b *testing.B) {
				l := open(b, fresh(s))
				a, err := l.Appender(b.Context(), topic, 0)
				if err != nil {
					b.Fatal(err)
				}
				defer a.Close()
				places := make(chan struct{}, window)
				var took []time.Duration
				body := make([]byte, 300)
				before, _ := s.Process().CPU()
				for i := 0; b.Loop(); i++ {
					places <- struct{}{}
					start := time.Now()
					a.Append(b.Context(), body, func(err error) {
						if err != nil {
							b.Error(err)
						}
						took = append(took, time.Since(start))
						<-places
					})
				}
				for range window {
					places <- struct{}{}
				}
				after, _ := s.Process().CPU()
				slices.Sort(took)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
				b.ReportMetric(float64((after-before).Microseconds())/float64(b.N), "broker-cpu-µs/message")
			})
		}
	}
}

// BenchmarkRead reads messages of 300 bytes from the beginning of one partition.
func BenchmarkRead(b *testing.B) {
	s := server.Start(b, server.Options{Peak: true})
	for _, topic := range []brokerlog.Topic{brokerlog.Events, brokerlog.Commands} {
		b.Run(string(topic), func(b *testing.B) {
			const count = 20_000
			l := open(b, fresh(s))
			a, err := l.Appender(b.Context(), topic, 0)
			if err != nil {
				b.Fatal(err)
			}
			outcome := make(chan error, count)
			for range count {
				a.Append(b.Context(), make([]byte, 300), func(err error) { outcome <- err })
			}
			for range count {
				if err := <-outcome; err != nil {
					b.Fatal(err)
				}
			}
			a.Close()
			for b.Loop() {
				r, err := l.Read(b.Context(), topic, 0, fold.Position{})
				if err != nil {
					b.Fatal(err)
				}
				for n := 0; n < count; {
					messages, err := r.Next(b.Context(), 1000)
					if err != nil {
						b.Fatal(err)
					}
					n += len(messages)
				}
				r.Close()
			}
			b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkEcho appends a message and reads it back.
func BenchmarkEcho(b *testing.B) {
	l := open(b, fresh(server.Start(b, server.Options{Peak: true})))
	a, err := l.Appender(b.Context(), brokerlog.Events, 0)
	if err != nil {
		b.Fatal(err)
	}
	r, err := l.Read(b.Context(), brokerlog.Events, 0, fold.Position{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		a.Append(b.Context(), []byte("echo"), func(error) {})
		if _, err := r.Next(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}
