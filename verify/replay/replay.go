// Package replay is the anti-replay window of a secret of a client, after RFC 6479: a
// ring of bitmap blocks. It accepts reordered nonces, and no nonce twice. To
// move the window it shifts no bit.
//
//	nonce -> Accept: above the highest: accepted, and the window moves
//	                 inside the window: accepted once
//	                 below the window:  counts as used
package replay

const (
	blockBits = 64
	blocks    = 4 // a power of two

	// Size is how far below the highest nonce an unused nonce is still
	// accepted. The knocks of the longest sequence, 128, fit in, in any order.
	// One block of the ring is always being reused, so it does not count.
	Size = (blocks - 1) * blockBits
)

// Window records which nonces of a secret were used. In the zero value no nonce
// is used, not even nonce 0. A Window belongs to one goroutine.
type Window struct {
	next uint64 // the highest nonce used, plus 1; 0 if none was
	ring Ring
}

// Restored returns a window in which highest and all nonces below it count as
// used.
func Restored(highest uint32) Window {
	w := Window{next: uint64(highest) + 1}
	for i := range w.ring {
		w.ring[i] = ^uint64(0)
	}
	// Nonces above highest are unused, also in the block that they share with it.
	w.ring[block(highest)] = ^uint64(0) >> (blockBits - 1 - highest%blockBits)
	return w
}

// Recorded returns the window that had a highest nonce and a ring.
func Recorded(highest uint32, r Ring) Window { return Window{uint64(highest) + 1, r} }

// Clean reports whether no bit stands for a nonce above the highest one, or for none at
// all. A window that began empty is clean.
func (w *Window) Clean() bool {
	if w.next == 0 {
		return w.ring == Ring{}
	}
	last := w.next - 1
	if above := w.ring[last/blockBits%blocks] >> (last % blockBits) >> 1; above != 0 {
		return false
	}
	for b := last/blockBits + 1; b < blocks; b++ {
		if w.ring[b] != 0 {
			return false
		}
	}
	return true
}

// Merge makes the nonces used that another window has used.
func (w *Window) Merge(other Window) {
	if other.next > w.next {
		*w, other = other, *w
	}
	if other.next == 0 {
		return
	}
	// The blocks of both. Nonces that w accepts in them are not below the window of the
	// other.
	last := (other.next - 1) / blockBits
	for b := max((w.next-1)/blockBits+1, blocks) - blocks; b <= last; b++ {
		w.ring[b%blocks] |= other.ring[b%blocks]
	}
}

// Accept reports whether a nonce is unused, and records it as used. The nonce
// must be authenticated.
func (w *Window) Accept(nonce uint32) bool {
	n := uint64(nonce)
	if n+Size < w.next {
		return false
	}
	if n >= w.next {
		w.advance(n)
	}
	bit := uint64(1) << (n % blockBits)
	b := &w.ring[block(nonce)]
	if *b&bit != 0 {
		return false
	}
	*b |= bit
	return true
}

// Unused reports whether Accept would accept a nonce. It records nothing.
func (w *Window) Unused(nonce uint32) bool {
	n := uint64(nonce)
	return n >= w.next || n+Size >= w.next && !w.ring.Used(nonce)
}

// Highest returns the highest nonce used, and false if none was.
func (w *Window) Highest() (uint32, bool) {
	return uint32(w.next - 1), w.next > 0
}

// Floor returns the lowest nonce that can still be unused: Accept refuses every
// nonce below it.
func (w *Window) Floor() uint32 {
	if w.next <= Size {
		return 0
	}
	return uint32(w.next - Size)
}

// Ring is the memory of a Window: nonce n has bit n%64 of word n/64%4.
type Ring [blocks]uint64

// Ring returns the bits of the window's highest nonce and of the Size nonces
// below it. The bits of lower nonces have no meaning.
func (w *Window) Ring() Ring { return w.ring }

// Used reports whether a nonce is marked.
func (r Ring) Used(nonce uint32) bool { return r[block(nonce)]>>(nonce%blockBits)&1 != 0 }

// advance makes n the highest nonce and clears the blocks that it enters.
func (w *Window) advance(n uint64) {
	entered := n/blockBits + 1
	first := uint64(0)
	if w.next > 0 {
		first = (w.next-1)/blockBits + 1
	}
	if entered-first > blocks {
		first = entered - blocks
	}
	for i := first; i < entered; i++ {
		w.ring[i%blocks] = 0
	}
	w.next = n + 1
}

func block(nonce uint32) uint32 { return nonce / blockBits % blocks }
