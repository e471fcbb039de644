// Package loglimit bounds how fast a log grows, whatever clients do. A client
// that attacks with its own secret can make the server log the same event again
// and again; its lines must not fill the disk, and must not hide other clients'
// lines.
//
//	slog.Record -> kind: the message, which is a fixed phrase
//	  -> bucket of the kind, client and service, for lines that name a client
//	  -> bucket of the kind
//	  -> the next handler; or left out, and counted
//
// The next line of the kind reports how many were left out (left_out). If there is
// none for a minute, a separate line reports it, together with the next line of any
// kind.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions"
)

// Limits of lines of one kind.
var (
	perClient = sessions.Limit{Pause: 5 * time.Second, Burst: 20} // and service
	perKind   = sessions.Limit{Pause: 50 * time.Millisecond, Burst: 10_000}
)

const (
	// maxOwners is how many buckets of clients there are. If all are in use, a line
	// counts only for its kind.
	maxOwners = 4096
	// overdue is how long the number of lines left out may wait for the next line.
	overdue = time.Minute
)

// handler is a slog.Handler with a limiter that all its copies share.
type handler struct {
	next  slog.Handler
	owner owner // from WithAttrs
	*limiter
}

// New returns a logger that passes on the lines within the limits. Now is a clock
// that is never set. The logger may be used concurrently.
func New(next *slog.Logger, now func() time.Time) *slog.Logger {
	return slog.New(&handler{next.Handler(), owner{}, &limiter{now: now, kinds: map[string]*kind{}, owners: map[owner]*sessions.Bucket{}}})
}

// owner is the kind of a line, with the client and service that it names.
type owner struct{ kind, client, service string }

func (o *owner) add(a slog.Attr) {
	switch a.Key {
	case "client", "operation":
		o.client = a.Value.String()
	case "service":
		o.service = a.Value.String()
	}
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.owner.add(a)
	}
	c.next = h.next.WithAttrs(attrs)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.next = h.next.WithGroup(name)
	return &c
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	of := h.owner
	of.kind = r.Message
	r.Attrs(func(a slog.Attr) bool { of.add(a); return true })
	left, ok := h.pass(of)
	if !ok {
		return nil
	}
	for _, l := range h.overdue() {
		line := slog.NewRecord(r.Time, slog.LevelWarn, "log lines left out", 0)
		line.AddAttrs(slog.String("message", l.kind), slog.Uint64("left_out", l.left))
		if err := h.next.Handle(ctx, line); err != nil {
			return err
		}
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Uint64("left_out", left))
	}
	return h.next.Handle(ctx, r)
}

// limiter decides which lines pass.
type limiter struct {
	now func() time.Time

	mu      sync.Mutex
	kinds   map[string]*kind
	owners  map[owner]*sessions.Bucket
	swept   time.Time // when owners were last checked for full buckets
	pending int       // kinds with lines that were left out since their last line
}

// kind is the lines with one message.
type kind struct {
	bucket sessions.Bucket
	left   uint64    // lines left out since the last line
	since  time.Time // when the first of them was left out
}

// pass reports whether a line passes, and how many of its kind before it did not.
func (l *limiter) pass(o owner) (left uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	k := l.kinds[o.kind]
	if k == nil {
		k = new(kind)
		l.kinds[o.kind] = k
	}
	if b := l.of(o, now); b != nil && !b.Take(now, perClient) || !k.bucket.Take(now, perKind) {
		if k.left == 0 {
			k.since = now
			l.pending++
		}
		k.left++
		return 0, false
	}
	return l.takeLeft(k), true
}

// takeLeft returns how many lines of a kind were left out, and resets the number.
func (l *limiter) takeLeft(k *kind) (left uint64) {
	if left = k.left; left > 0 {
		k.left = 0
		l.pending--
	}
	return left
}

// of returns the bucket of a client's lines; nil: the line names no client, or all
// buckets are in use.
func (l *limiter) of(o owner, now time.Time) *sessions.Bucket {
	if o.client == "" {
		return nil
	}
	b := l.owners[o]
	if b != nil {
		return b
	}
	if len(l.owners) >= maxOwners && now.Sub(l.swept) >= perClient.Pause {
		l.swept = now
		for other, b := range l.owners {
			if b.Full(now) {
				delete(l.owners, other)
			}
		}
	}
	if len(l.owners) >= maxOwners {
		return nil
	}
	b = new(sessions.Bucket)
	l.owners[o] = b
	return b
}

// leftOut is how many lines of a kind were left out.
type leftOut struct {
	kind string
	left uint64
}

// overdue returns the kinds of which lines were left out at least a minute ago,
// without a line since.
func (l *limiter) overdue() (all []leftOut) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == 0 {
		return nil
	}
	now := l.now()
	for message, k := range l.kinds {
		if k.left > 0 && now.Sub(k.since) >= overdue {
			all = append(all, leftOut{message, l.takeLeft(k)})
		}
	}
	return all
}
