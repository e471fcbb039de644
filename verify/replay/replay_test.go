package replay

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestZeroWindowTakesZero(t *testing.T) {
	var w Window
	if _, ok := w.Highest(); ok {
		t.Error("an empty window has a highest nonce")
	}
	if !w.Accept(0) || w.Accept(0) {
		t.Error("nonce 0 is not fresh exactly once")
	}
}

func TestRestoredMarkIsUsed(t *testing.T) {
	for _, mark := range []uint32{0, 1, 63, 64, 65, 127, 128, 1000, math.MaxUint32 - 1, math.MaxUint32} {
		w := Restored(mark)
		for n := int64(mark); n >= 0 && n > int64(mark)-2*Size; n-- {
			if w.Accept(uint32(n)) {
				t.Errorf("mark %d: %d accepted", mark, n)
			}
		}
		if h, ok := w.Highest(); !ok || h != mark {
			t.Errorf("mark %d: highest %d", mark, h)
		}
		for n := int64(mark) + 130; n > int64(mark); n-- {
			if n <= math.MaxUint32 && (!w.Accept(uint32(n)) || w.Accept(uint32(n))) {
				t.Errorf("mark %d: %d not fresh exactly once", mark, n)
			}
		}
	}
}

func TestNoWrap(t *testing.T) {
	var w Window
	if !w.Accept(math.MaxUint32) {
		t.Fatal("the largest nonce is not fresh")
	}
	for _, n := range []uint32{0, 1, 64, math.MaxUint32, math.MaxUint32 - Size} {
		if w.Accept(n) {
			t.Errorf("%d accepted after the largest", n)
		}
	}
	if !w.Accept(math.MaxUint32 - Size + 1) {
		t.Error("the lowest of the window refused")
	}
}

func TestAnyOrderOfASequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint32Range(0, math.MaxUint32-127).Draw(t, "base")
		var w Window
		if base > 0 {
			w = Restored(base - 1)
		}
		order := make([]uint32, 128)
		for i := range order {
			order[i] = base + uint32(i)
		}
		for _, n := range rapid.Permutation(order).Draw(t, "order") {
			if !w.Accept(n) {
				t.Fatalf("%d refused", n)
			}
		}
	})
}

// TestAgainstModel compares the window with a plain set of used nonces, over
// jumps of all sizes.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mark := rapid.Uint32().Draw(t, "mark")
		w := Restored(mark)
		used := map[uint32]bool{}
		highest := int64(mark)
		if rapid.Bool().Draw(t, "nothing used") {
			w, highest = Window{}, -1
		}
		restored := highest
		jump := rapid.OneOf(rapid.Int64Range(-300, 300), rapid.Int64Range(-70_000, 70_000), rapid.SampledFrom([]int64{
			-Size - 1, -Size, -Size + 1, -64, 0, 1, 63, 64, 65, Size, 256, 257,
		}))
		for _, d := range rapid.SliceOfN(jump, 1, 300).Draw(t, "jumps") {
			n := highest + d
			if n < 0 || n > math.MaxUint32 {
				continue
			}
			want := !used[uint32(n)] && n > restored && n > highest-Size
			if got := w.Unused(uint32(n)); got != want {
				t.Fatalf("nonce %d, highest %d: unused %v, want %v", n, highest, got, want)
			}
			if got := w.Accept(uint32(n)); got != want {
				t.Fatalf("nonce %d, highest %d: got %v, want %v", n, highest, got, want)
			}
			if want {
				used[uint32(n)] = true
				highest = max(highest, n)
			}
		}
	})
}

// FuzzAccept feeds byte pairs as steps: nothing is ever accepted twice.
func FuzzAccept(f *testing.F) {
	f.Add(uint32(0), []byte{1, 1, 255, 0, 64, 192})
	f.Add(uint32(math.MaxUint32-3), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, mark uint32, steps []byte) {
		w := Restored(mark)
		var accepted []uint32
		n := mark
		for _, s := range steps {
			n += uint32(int32(int8(s)) * 3)
			if w.Accept(n) {
				if slices.Contains(accepted, n) || n <= mark {
					t.Fatalf("%d accepted again", n)
				}
				accepted = append(accepted, n)
			}
		}
	})
}

func BenchmarkAccept(b *testing.B) {
	var w Window
	n := uint32(0)
	for b.Loop() {
		w.Accept(n)
		n++
	}
}

// TestFloorIsTheLowestThatPasses: nothing below it is accepted, and in a window
// that has seen only its highest, it is.
func TestFloorIsTheLowestThatPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		for _, n := range rapid.SliceOf(rapid.Uint32Range(0, 2000)).Draw(t, "nonces") {
			below := n < w.Floor()
			if w.Accept(n) && below {
				t.Fatalf("accepted %d below the floor", n)
			}
		}
		// Far enough above the others that none of them is its floor.
		high := rapid.Uint32Range(2000+Size, math.MaxUint32).Draw(t, "highest")
		w.Accept(high)
		if f := w.Floor(); f != high-Size+1 || w.Accept(f-1) || !w.Accept(f) {
			t.Fatalf("floor %d below %d", f, high)
		}
	})
}

// TestMergeAgainstModel: after a merge, a nonce is used if it was used in one of the
// windows.
func TestMergeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near := rapid.Uint32Range(0, 700)
		window := func(name string) Window {
			var w Window
			if rapid.Bool().Draw(t, name+" restored") {
				w = Restored(near.Draw(t, name+" mark"))
			}
			for _, n := range rapid.SliceOfN(near, 0, 60).Draw(t, name+" nonces") {
				w.Accept(n)
			}
			return w
		}
		a, b := window("a"), window("b")
		merged := a
		merged.Merge(b)
		if h, used := b.Highest(); used {
			if recorded := Recorded(h, b.Ring()); recorded != b {
				t.Fatalf("recorded: got %v, want %v", recorded, b)
			}
		}
		for n := range uint32(1000) {
			if got, want := merged.Unused(n), a.Unused(n) && b.Unused(n); got != want {
				t.Fatalf("nonce %d: unused %v, want %v", n, got, want)
			}
		}
	})
}
