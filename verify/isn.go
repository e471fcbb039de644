package verify

import "sallyport/verify/wire"

// isn returns the number of an attempt under a key. It allocates nothing. If a state
// cannot be restored, it returns zero, and no MAC is right either.
func (s *macState) isn(key *macKey, id wire.Identifier, base uint32) wire.ISN {
	s.isnMessage = wire.ISNMessage(id, base)
	mac := s.sign(key, s.isnMessage[:])
	if mac == nil {
		return 0
	}
	return wire.ISNOf(mac)
}
