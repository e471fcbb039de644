package sessions

import (
	"context"

	"sallyport/verify/wire"
)

// Resync makes the floors of a client's secrets forget the highest nonce, so that no
// tier refuses the client's next knock because its nonce is too far ahead. With the next
// higher nonce that is accepted, the floor has it again. A nonce that was used stays
// used. Resync reports whether there is such a client. It returns an error only when ctx
// ends.
func (s *Sessions) Resync(ctx context.Context, id wire.Identifier) (found bool, err error) {
	err = s.update(ctx, func(int) update { return update{resync: id, found: &found} })
	return found, err
}

// resync is Resync for a shard.
func (s *shard) resync(id wire.Identifier) bool {
	i, ok := s.index[id]
	if ok {
		s.clients[i].windows((*window).forget)
	}
	return ok
}
