package sessions

import (
	"net/netip"
	"sync"
	"time"

	"sallyport/verify/wire"
)

const (
	// denialPause is the time between two denials of a client that are named in the log;
	// those between are counted in the second.
	denialPause = time.Second
	// maxDenials is how many wait to be named in the log, at most.
	maxDenials = 64
)

// denied are the outcomes that the log names: the server did not do what an authenticated
// knock asked for. OtherSource and Failed have separate lines, Superseded is no denial,
// and a full queue is only counted.
var denied = [NumOutcomes]bool{
	Replay: true, Older: true, Unknown: true, BeforeStart: true, RateLimited: true, OtherMinute: true, OtherPurpose: true,
	Unrecorded: true, UsedElsewhere: true,
}

// denials counts the denials of one client in its shard.
type denials struct {
	named milliseconds // when the last one was named, on the shard's clock
	ever  bool         // one was
	since uint32       // denials since then
}

// denial is one to name in the log.
type denial struct {
	client  wire.Identifier
	source  netip.Addr
	outcome Outcome
	number  uint32 // denials of the client since the last one that was named, with this one
}

// deny notes a denial of a client, and passes it on once in a denialPause.
func (s *shard) deny(client wire.Identifier, source netip.Addr, o Outcome) {
	d := &s.unknown // of all clients that the shard does not know
	if i, ok := s.index[client]; ok {
		d = &s.clients[i].denials
	}
	d.since++
	now := milliseconds(s.elapsed / int64(time.Millisecond))
	if d.ever && now-d.named < milliseconds(denialPause/time.Millisecond) {
		return
	}
	if s.recorder.denials.put(denial{client, source.Unmap(), o, d.since}) {
		*d = denials{named: now, ever: true}
		s.recorder.notify()
	}
}

// denialList has the denials that the recorder has not logged yet. The shards put, and the
// recorder takes.
type denialList struct {
	mu   sync.Mutex
	n    int
	list [maxDenials]denial
}

// put adds a denial, and reports whether there was room.
func (l *denialList) put(d denial) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == len(l.list) {
		return false
	}
	l.list[l.n] = d
	l.n++
	return true
}

func (l *denialList) take() (all []denial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n > 0 {
		all = append(all, l.list[:l.n]...)
		l.n = 0
	}
	return all
}

// logDenials logs the denials of the shards. Package loglimit bounds the lines of a client.
func (r *recorder) logDenials() {
	for _, d := range r.denials.take() {
		r.logDenied(d.client, d.source, d.outcome, d.number)
	}
}

func (r *recorder) logDenied(client wire.Identifier, source netip.Addr, o Outcome, number uint32) {
	r.log.Info("knock denied", "client", client, "address", source, "reason", o, "knocks", number)
}
