package sessions

import (
	"slices"
	"sync"

	"sallyport/verify/wire"
)

// maxOtherSources is how many attempts wait to be named in the log, at most: one of each
// client, so that no client hides the others.
const maxOtherSources = 64

// otherSource is an attempt that opens nothing, because its knocks came from two
// addresses.
type otherSource struct {
	client        wire.Identifier
	first, second source
}

// otherSources are those that the recorder has not logged yet. The shards put, once for
// an attempt, and the recorder takes. If there are too many, the others are only counted.
type otherSources struct {
	mu   sync.Mutex
	n    int
	list [maxOtherSources]otherSource
}

func (o *otherSources) put(s otherSource) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ofClient := func(waits otherSource) bool { return waits.client == s.client }
	if o.n < len(o.list) && !slices.ContainsFunc(o.list[:o.n], ofClient) {
		o.list[o.n] = s
		o.n++
	}
}

func (o *otherSources) take() (all []otherSource) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all = append(all, o.list[:o.n]...)
	o.n = 0
	return all
}

// logOtherSources logs the attempts whose knocks came from two addresses. Package
// loglimit bounds the lines of a client.
func (r *recorder) logOtherSources() {
	for _, s := range r.otherSources.take() {
		r.log.Warn("attempt from two addresses; it opens nothing",
			"client", s.client, "address", s.first.addr(), "other_address", s.second.addr(),
			"hint", "if the client's network has several addresses, set grant_prefix4 or grant_prefix6 of its services; otherwise another host has sent its knocks")
	}
}
