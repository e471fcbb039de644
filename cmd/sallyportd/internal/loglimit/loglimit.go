// Package loglimit bounds how fast a log grows, whatever clients do. A client
// that attacks with its own secret can have the server do the same thing over and
// over; its lines must fill no disk, and hide no other client's.
//
//	slog.Record -> kind: the message, which is a fixed phrase
//	  -> bucket of the kind, client and service, for lines that name a client
//	  -> bucket of the kind
//	  -> the next handler; or left out, and counted
//
// The next line of the kind says how many were left out (left_out). If none
// comes for a minute, a line of its own does, with the next line of any kind.
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
	// maxOwn is how many buckets of clients there are. If all are in use, lines
	// count for their kind alone.
	maxOwn = 4096
	// overdue is how long what was left out may wait for the next line.
	overdue = time.Minute
)

// handler is a slog.Handler with a limiter that all its copies share.
type handler struct {
	next slog.Handler
	own  own // by WithAttrs
	*limiter
}

// New returns a logger that passes on what is within the limits. It goes by a
// clock that is never set. It may be used concurrently.
func New(next *slog.Logger, now func() time.Time) *slog.Logger {
	return slog.New(&handler{next.Handler(), own{}, &limiter{now: now, kinds: map[string]*kind{}, owns: map[own]*sessions.Bucket{}}})
}

// own is whose line of a kind it is.
type own struct{ kind, client, service string }

func (o *own) add(a slog.Attr) {
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
		c.own.add(a)
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
	whose := h.own
	whose.kind = r.Message
	r.Attrs(func(a slog.Attr) bool { whose.add(a); return true })
	left, ok := h.pass(whose)
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

	mu    sync.Mutex
	kinds map[string]*kind
	owns  map[own]*sessions.Bucket
	swept time.Time // when owns was last looked through
	late  int       // kinds of which lines were left out since the last one
}

// kind is the lines with one message.
type kind struct {
	bucket sessions.Bucket
	left   uint64    // left out since the last line
	since  time.Time // when the first of them was
}

// pass reports whether a line passes, and how many before it did not.
func (l *limiter) pass(o own) (left uint64, ok bool) {
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
			l.late++
		}
		k.left++
		return 0, false
	}
	return l.tell(k), true
}

// tell returns how many lines of a kind were left out, and begins anew.
func (l *limiter) tell(k *kind) (left uint64) {
	if left = k.left; left > 0 {
		k.left = 0
		l.late--
	}
	return left
}

// of returns the bucket of a client's lines; nil: it has none.
func (l *limiter) of(o own, now time.Time) *sessions.Bucket {
	if o.client == "" {
		return nil
	}
	b := l.owns[o]
	if b != nil {
		return b
	}
	if len(l.owns) >= maxOwn && now.Sub(l.swept) >= perClient.Pause {
		l.swept = now
		for other, b := range l.owns {
			if b.Full(now) {
				delete(l.owns, other)
			}
		}
	}
	if len(l.owns) >= maxOwn {
		return nil
	}
	b = new(sessions.Bucket)
	l.owns[o] = b
	return b
}

// untold is how many lines of a kind were left out.
type untold struct {
	kind string
	left uint64
}

// overdue returns what was left out a while ago, and of which no line has told.
func (l *limiter) overdue() (all []untold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late == 0 {
		return nil
	}
	now := l.now()
	for message, k := range l.kinds {
		if k.left > 0 && now.Sub(k.since) >= overdue {
			all = append(all, untold{message, l.tell(k)})
		}
	}
	return all
}
