package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/auditsink"
)

// BenchmarkRecording is for profiles of what the table says of the whole recording.
func BenchmarkRecording(b *testing.B) {
	events, err := recorded("../../docs/samples/audit.log.gz")
	if err != nil {
		b.Fatal(err)
	}
	match, err := newCorrelator(nowhere{}, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	body := list(events)
	for _, r := range ways(auditsink.NewDecoder(), match) {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.read(body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchSize, "ns/event")
		})
	}
}
