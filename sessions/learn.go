package sessions

import (
	"context"

	"sallyport/verify/replay"
)

// Learn makes nonces used that other servers have recorded, which share the Journal. Of
// each Entry, Identifier, Secret, HighestNonce and Ring count; it does not retain the
// list. Clients and secrets that are not in the list of clients are left out. Learn waits
// until the shards have the nonces, and returns an error only when ctx ends.
func (s *Sessions) Learn(ctx context.Context, records []Entry) error {
	lists := make([][]Entry, len(s.shards))
	for _, r := range records {
		i := s.shardOf(r.Identifier)
		lists[i] = append(lists[i], r)
	}
	for i, list := range lists {
		if len(list) == 0 {
			continue
		}
		u := update{learned: list, done: make(chan struct{})}
		select {
		case s.shards[i].updates <- u:
			<-u.done
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// learn is Learn for a shard.
func (s *shard) learn(records []Entry) {
	for _, r := range records {
		if i, ok := s.index[r.Identifier]; ok {
			if w := s.clients[i].window(r.Secret); w != nil {
				w.learn(replay.Recorded(r.HighestNonce, r.Ring))
			}
		}
	}
}

// learn makes the nonces used that another window has used. An attempt in the slot that
// has one of them does not complete.
func (w *window) learn(other replay.Window) {
	before, _ := w.nonces.Highest()
	w.nonces.Merge(other)
	highest, _ := w.nonces.Highest()
	w.forgotten = w.forgotten && highest <= before
	w.raiseFloor()
}
