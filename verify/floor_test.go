package verify_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/verify"
)

// TestMirror: the mark gets the highest nonce at once and at each Raise, and never
// falls, except by Forget.
func TestMirror(t *testing.T) {
	var f verify.Floor
	var first, second atomic.Uint32
	expect := func(when string, one, two uint32) {
		t.Helper()
		if a, b := first.Load(), second.Load(); a != one || b != two {
			t.Fatalf("%s: %d and %d, want %d and %d", when, a, b, one, two)
		}
	}
	f.Raise(0, 0)
	f.Mirror(&first)
	expect("unknown", 0, 0)
	f.Raise(0, 100)
	expect("raised", 100, 0)
	f.Raise(0, 99)
	expect("lower", 100, 0)
	f.Mirror(&second)
	expect("present value", 100, 100)
	f.Raise(10, 200)
	expect("replaced", 100, 200)
	f.Mirror(nil)
	f.Raise(20, 300)
	expect("ended", 100, 200)
	second.Store(1000) // raised by the floor of another table
	f.Mirror(&second)
	f.Raise(20, 301)
	expect("higher mark", 100, 1000)
	if f.Highest() != 301 {
		t.Errorf("highest %d", f.Highest())
	}
	f.Forget()
	expect("forgotten", 100, 0)
	f.Raise(20, 150)
	expect("lower than before", 100, 150)
}

// TestMirrorDuringRaise: whatever the order, the mark has the last highest nonce, and
// nothing writes to a mark whose mirror has ended.
func TestMirrorDuringRaise(t *testing.T) {
	const last = 20_000
	var f verify.Floor
	var done sync.WaitGroup
	done.Go(func() {
		for n := range uint32(last) {
			f.Raise(n, n+1)
		}
	})
	var marks [64]atomic.Uint32
	var ended [len(marks)]uint32
	for i := range marks {
		f.Mirror(&marks[i])
		f.Mirror(nil)
		ended[i] = marks[i].Load()
	}
	var mark atomic.Uint32
	f.Mirror(&mark)
	done.Wait()
	if got := mark.Load(); got != last {
		t.Errorf("mark %d, want %d", got, last)
	}
	for i := range marks {
		if got := marks[i].Load(); got != ended[i] {
			t.Errorf("mark %d rose from %d to %d after its mirror had ended", i, ended[i], got)
		}
	}
}

func TestRaiseDoesNotAllocate(t *testing.T) {
	var f verify.Floor
	var mark atomic.Uint32
	f.Mirror(&mark)
	n := uint32(0)
	if got := testing.AllocsPerRun(100, func() { n++; f.Raise(n, n) }); got != 0 {
		t.Errorf("%g allocations", got)
	}
}
