package sessions

import (
	"sallyport/verify"
	"sallyport/verify/replay"
)

// Secret is one of a client's secrets. Each has its own window: nonces that were
// used with one secret are unused with another.
type Secret struct {
	Fingerprint  verify.Fingerprint
	HighestNonce uint32 // the highest nonce already used; 0: none, unless Used
	Used         bool   // HighestNonce is used, even if it is 0
	// LostUntil: knocks stamped up to this Unix time are refused, since the record of
	// a secret may have been removed that was used with such stamps. 0: none.
	LostUntil uint32
	// Revived: the secret was not valid until now, although its window may exist. As
	// for a new secret, knocks stamped before Begin are refused.
	Revived bool
	// Floor, if not nil, is raised to the lowest nonce that the window accepts, and to
	// the highest one that it has seen.
	Floor *verify.Floor
}

// window is the state of one secret of a client.
type window struct {
	secret    verify.Fingerprint
	nonces    replay.Window
	slot      slot
	since     int64 // all knocks since this time have been received: nanoseconds of the boot clock
	floor     *verify.Floor
	table     uint32 // knocks that an earlier key table authenticated are not valid
	lostUntil uint32 // see Secret.LostUntil
	// forgotten: the floor does not have the highest nonce (Resync).
	forgotten bool
}

// newWindow returns the window of a secret that has no window yet.
func newWindow(c Client, s Secret, since int64) window {
	w := window{secret: s.Fingerprint, table: c.Table, since: since}
	if s.Used || s.HighestNonce > 0 {
		w.nonces = replay.Restored(s.HighestNonce)
	}
	w.apply(s)
	return w
}

// update changes a window for a new list of clients. Its used nonces stay used,
// whatever the new highest nonce is.
func (w *window) update(c Client, s Secret, since int64) {
	if c.Readded || s.Revived {
		w.table, w.since = c.Table, since
	}
	if c.Readded {
		w.slot = slot{}
	}
	highest, used := w.nonces.Highest()
	if (s.Used || s.HighestNonce > 0) && (!used || s.HighestNonce > highest) {
		w.nonces = replay.Restored(s.HighestNonce)
		w.slot.retire(&w.nonces)
		w.forgotten = false
	}
	w.apply(s)
}

// apply sets the fields that come with each list of clients.
func (w *window) apply(s Secret) {
	w.lostUntil = max(w.lostUntil, s.LostUntil)
	w.floor = s.Floor
	w.raiseFloor()
}

// raiseFloor makes the verifiers refuse, without an HMAC, the nonces that the
// window refuses, and the shield those that are too far from the highest one.
func (w *window) raiseFloor() {
	if w.floor == nil {
		return
	}
	highest, used := w.nonces.Highest()
	switch {
	case !used || w.forgotten:
		highest = 0
	case highest == 0:
		highest = 1 // for a floor, 0 is unknown: any nonce would pass
	}
	w.floor.Raise(w.nonces.Floor(), highest)
}

// accept reports whether a nonce is unused, and records it as used.
func (w *window) accept(nonce uint32) bool {
	before, _ := w.nonces.Highest()
	if !w.nonces.Accept(nonce) {
		return false
	}
	w.forgotten = w.forgotten && nonce <= before
	w.raiseFloor()
	return true
}

// forget makes the floor forget the highest nonce, until a higher one is accepted. The
// used nonces stay used.
func (w *window) forget() {
	w.forgotten = true
	if w.floor != nil {
		w.floor.Forget()
	}
}

// window returns the window of a secret; nil: the client does not have the secret.
func (c *client) window(secret verify.Fingerprint) *window {
	switch {
	case c.current.secret == secret:
		return &c.current
	case c.previous != nil && c.previous.secret == secret:
		return c.previous
	}
	return nil
}

// windows calls f for each window of the client.
func (c *client) windows(f func(*window)) {
	f(&c.current)
	if c.previous != nil {
		f(c.previous)
	}
}
