package ingest

import (
	"runtime"
	"testing"
)

func TestRingIsBoundedAndInOrder(t *testing.T) {
	r := newRing(4)
	var batches [5]batch
	for lap := range 10 {
		for i := range batches {
			if got := r.push(&batches[i]); got != (i < 4) {
				t.Fatalf("lap %d: push %d: %v", lap, i, got)
			}
			if n := r.waiting(); n != min(i+1, 4) {
				t.Fatalf("lap %d: %d wait after %d", lap, n, i+1)
			}
		}
		for i := range 4 {
			if r.empty() || r.pop() != &batches[i] {
				t.Fatalf("lap %d: pop %d out of order", lap, i)
			}
		}
		if !r.empty() || r.pop() != nil {
			t.Fatalf("lap %d: not empty", lap)
		}
	}
}

func TestRingBetweenGoroutines(t *testing.T) {
	const total = 100_000
	r := newRing(8)
	go func() {
		for i := range total {
			b := &batch{n: i}
			for !r.push(b) {
				runtime.Gosched()
			}
		}
	}()
	for i := 0; i < total; {
		b := r.pop()
		if b == nil {
			runtime.Gosched()
			continue
		}
		if b.n != i {
			t.Fatalf("got %d, want %d", b.n, i)
		}
		i++
	}
}
