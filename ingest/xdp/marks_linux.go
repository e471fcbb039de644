package xdp

import (
	"encoding/binary"
	"time"

	"sallyport/verify"
	"sallyport/verify/wire"
)

// The mark of a secret is its highest nonce, in the entry of its client. Its
// verify.Floor keeps it up to date (Floor.Mirror). While one of two valid secrets of a
// client is not known, Highest is 0 and any nonce passes.

// windows are the secrets of a client: the current one, and the one before a rotation.
type windows [2]verify.Secret

// Mirror makes the floors of a key table raise the marks in the array; nil: no floor
// does. The marks of secrets that both tables have stay. The table must be the one in
// force, and stays in use until the next Mirror or Close. Set must have been called
// before with its identifiers; a client without an entry has no mark. For a million
// clients, Mirror takes up to a second.
func (s *Shield) Mirror(t *verify.KeyTable, now time.Time) {
	switch {
	case t == s.marks:
		return
	case t == nil:
		s.setFlag(FlagNonces, false)
		s.endMirrors()
		return
	}
	last, both := s.marks, 0
	s.rotating, s.nextTick, s.ticked = s.rotating[:0], 0, now.Unix()
	for id, secrets := range t.AllWindows() {
		e := s.find(entryID(id))
		if last != nil {
			var old windows
			if old[0], old[1] = last.Windows(id); old[0].Floor != nil {
				both++
			}
			s.replaceMirror(old, secrets, e)
		}
		if secrets[1].Floor != nil {
			s.rotating = append(s.rotating, id)
		}
		if e != nil {
			mirror(t, id, secrets, e, now)
		}
	}
	if last != nil && both < last.Len() {
		for id, old := range last.AllWindows() {
			if current, _ := t.Windows(id); current.Floor == nil {
				windows(old).end() // it was removed
			}
		}
	}
	s.marks = t
	s.setFlag(FlagNonces, true)
}

// replaceMirror ends the mirrors of a client, and makes its marks those of its next
// secrets.
func (s *Shield) replaceMirror(old, next windows, e *Entry) {
	old.end()
	if e == nil || next[0].Fingerprint == old[0].Fingerprint && next[1].Fingerprint == old[1].Fingerprint {
		return
	}
	known := func(secret verify.Secret) uint32 {
		switch {
		case secret.Fingerprint == 0:
			return 0
		case secret.Fingerprint == old[0].Fingerprint:
			return e.Highest.Load()
		case secret.Fingerprint == old[1].Fingerprint:
			return e.Previous.Load()
		}
		return 0
	}
	highest, previous := known(next[0]), known(next[1])
	e.Highest.Store(0) // any nonce passes
	s.stored()
	e.Previous.Store(previous)
	s.stored()
	if next[1].Floor == nil || previous != 0 {
		e.Highest.Store(highest)
		s.stored()
	}
}

// mirror connects the floors of a client with its entry, as far as its secrets are
// valid and known.
func mirror(t *verify.KeyTable, id wire.Identifier, secrets windows, e *Entry, now time.Time) {
	current, previous := secrets[0].Floor, secrets[1].Floor
	switch {
	case previous == nil:
	case !t.Accepts(id, secrets[1].Fingerprint, now):
		previous.Mirror(nil)
		e.Previous.Store(0)
	default:
		previous.Mirror(&e.Previous)
		if e.Previous.Load() == 0 {
			current.Mirror(nil)
			e.Highest.Store(0)
			return
		}
	}
	current.Mirror(&e.Highest)
}

// tickClients is how many clients a Tick looks at: each costs more than a microsecond, and
// the ports of the next minute wait. Until a client has its turn, the program accepts
// more of its nonces.
const tickClients = 1 << 15

// Tick must be called about once a second while a table is mirrored: a rotation may have
// ended, or a nonce of the former secret may have become known. After the clock was set
// back, a former secret may be valid again: then Tick looks at all clients in a rotation.
func (s *Shield) Tick(now time.Time) {
	n := len(s.rotating)
	if now.Unix() >= s.ticked {
		n = min(n, tickClients)
	}
	s.ticked = now.Unix()
	for range n {
		if s.nextTick >= len(s.rotating) {
			s.nextTick = 0
		}
		id := s.rotating[s.nextTick]
		s.nextTick++
		if e := s.find(entryID(id)); e != nil {
			var secrets windows
			secrets[0], secrets[1] = s.marks.Windows(id)
			mirror(s.marks, id, secrets, e, now)
		}
	}
}

// remirror connects the floors of a client with an entry that is new or has moved.
func (s *Shield) remirror(id wire.Identifier, to *Entry) {
	if s.marks == nil {
		return
	}
	if current, previous := s.marks.Windows(id); current.Floor != nil {
		mirror(s.marks, id, windows{current, previous}, to, time.Unix(s.ticked, 0))
	}
}

func (s *Shield) endMirror(id wire.Identifier) {
	if s.marks != nil {
		current, previous := s.marks.Windows(id)
		windows{current, previous}.end()
	}
}

// end ends the mirrors of a client.
func (w windows) end() {
	for _, secret := range w {
		if secret.Floor != nil {
			secret.Floor.Mirror(nil)
		}
	}
}

func (s *Shield) endMirrors() {
	if s.marks == nil {
		return
	}
	for _, secrets := range s.marks.AllWindows() {
		windows(secrets).end()
	}
	s.marks, s.rotating = nil, nil
}

// Ahead calls f for each client of which datagrams were refused since the last call
// because their nonce was too far ahead, with their number. It costs some milliseconds
// for a million clients, and nothing while the counter of these refusals stays.
func (s *Shield) Ahead(f func(id wire.Identifier, refused uint32)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.counts()[CountAhead]
	if s.closed || s.ahead.Swap(now) == now {
		return
	}
	for i := range s.identifiers {
		for j := range s.identifiers[i] {
			e := &s.identifiers[i][j]
			if e.Ahead.Load() == 0 {
				continue
			}
			var id wire.Identifier
			binary.NativeEndian.PutUint32(id[:], e.ID.Load())
			n := e.Ahead.Swap(0)
			if id.Valid() {
				f(id, n)
			}
		}
	}
}
