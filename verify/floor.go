package verify

import (
	"sync"
	"sync/atomic"
)

// Floor has the lowest nonce that a client can still use with a secret, and the highest
// one that it has used. The owner of the secret's window raises them. The verifiers
// refuse lower nonces without an HMAC; an earlier tier reads the highest nonce from its
// mark (Mirror). The zero value refuses nothing.
//
// Only the owner calls Raise and Forget. Mirror may be called at any time.
type Floor struct {
	lowest  atomic.Uint32
	highest uint32 // 0: not known; mu
	mu      sync.Mutex
	mark    *atomic.Uint32 // nil: none; mu
}

// Raise sets the lowest and the highest nonce if the new ones are higher. A highest
// nonce of 0 is not known. Raise does not allocate. It waits only for a concurrent
// Mirror.
func (f *Floor) Raise(lowest, highest uint32) {
	if lowest > f.lowest.Load() {
		f.lowest.Store(lowest)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if highest <= f.highest {
		return
	}
	f.highest = highest
	if f.mark != nil {
		raise(f.mark, highest)
	}
}

// Highest returns the highest nonce; 0: not known.
func (f *Floor) Highest() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.highest
}

// Mirror raises the mark to the highest nonce, and from then on each Raise does so. It
// never lowers the mark: before a mark is used for another secret, the caller must end
// the first mirror, and set the mark to 0. Nil ends the mirror: when Mirror returns,
// the Floor does not write to the mark that it had before.
func (f *Floor) Mirror(mark *atomic.Uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mark = mark
	if mark != nil {
		raise(mark, f.highest)
	}
}

// Forget sets the highest nonce, and the mark, to 0: not known. The lowest nonce stays.
func (f *Floor) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.highest = 0
	if f.mark != nil {
		f.mark.Store(0)
	}
}

// raise sets a mark to n if n is higher. The floors of two key tables may have the same
// mark while one table replaces the other.
func raise(mark *atomic.Uint32, n uint32) {
	for old := mark.Load(); n > old; old = mark.Load() {
		if mark.CompareAndSwap(old, n) {
			return
		}
	}
}
