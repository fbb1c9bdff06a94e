package openai_test

import (
	"testing"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
)

// BenchmarkCall is the cost of a call and of the simulator that answers it, in one process.
func BenchmarkCall(b *testing.B) {
	s := llmtest.Start(b)
	c := openai.New(openai.Config{BaseURL: s.BaseURL(), APIKey: apiKey})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Call(b.Context(), request(simple)); err != nil {
				b.Error(err)
			}
		}
	})
}
