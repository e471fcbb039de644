package holder

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrSilent means that the holder does not answer, and has not been given up: nothing was
// requested of it.
var ErrSilent = errors.New("the firewall's holder does not answer")

// times are the times of a sign of life.
type times struct {
	every   time.Duration // between two pings
	within  time.Duration // in which the holder must answer one
	silence time.Duration // after which a silent holder is given up
}

// usual are the times, except in tests. The kernel keeps a lease without an end for two
// minutes, so a holder that is given up after one can be replaced in time.
var usual = times{every: 10 * time.Second, within: answerTime, silence: time.Minute}

// ask is call for a request whose outcome may stay unknown: it changes nothing, or it opens
// knock ports, which the holder compares with its schedule when it executes the request. If
// there is no reply, the holder is silent: its leases stay, and nothing is requested of it,
// until the reply has come. So a holder that stands still for a moment costs no lease.
func (l *link) ask(request []byte, within time.Duration) ([]byte, error) {
	r, err := l.exchange(request, within)
	closeAll(r.files)
	if errors.Is(err, errNoReply) {
		l.silent.Store(true)
		select {
		case l.fellSilent <- struct{}{}:
		default:
		}
		err = ErrSilent
	}
	return r.text, err
}

// ask sends such a request. The caller holds the lock.
func (c *Conn) ask(request []byte) error {
	l := c.current()
	if l == nil {
		return ErrDead
	}
	b, err := l.ask(request, c.times.within)
	if err != nil {
		return err
	}
	if _, err = parseReply(b, 0); errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return err
}

// Silent reports whether the holder owes a reply, and was not given up so far.
func (c *Conn) Silent() bool {
	l := c.current()
	return l != nil && l.silent.Load() && c.Held()
}

// watch pings the holder until the link is given up, or ctx ends. Any reply is a sign of
// life, also the refusal of a holder that does not know the request.
func (c *Conn) watch(ctx context.Context, l *link, events Events) {
	tick := time.NewTicker(c.times.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.gone:
			return
		case <-tick.C:
			c.ping(l)
		case <-l.fellSilent:
			if events.Silent != nil {
				events.Silent()
			}
			if !l.resume(ctx, c.times.silence) {
				return
			}
			c.settleLater(l)
			if events.Continues != nil {
				events.Continues()
			}
		}
	}
}

// ping asks for a sign of life, unless a request is in progress: its reply is one.
func (c *Conn) ping(l *link) {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		l.ask([]byte{byte(kindPing)}, c.times.within)
	}
}

// resume waits for the reply that a silent holder owes. If none comes, it gives up the link.
func (l *link) resume(ctx context.Context, within time.Duration) bool {
	r, err := l.wait(ctx, within)
	closeAll(r.files)
	if errors.Is(err, errNoReply) {
		l.fail(fmt.Errorf("%w within %s", err, within))
	}
	l.silent.Store(err != nil)
	return err == nil
}

// settle sends what a reload has decided about the schedule that the holder has read. A
// silent holder gets it when it continues: otherwise it would keep the peers that the reload
// trusts no longer, and the knock ports of both schedules. The next holder reads the
// configuration itself. The caller holds the lock.
func (c *Conn) settle(l *link) error {
	if l == nil || l.unsettled == nil || l != c.current() {
		return nil
	}
	b, err := l.call(appendCommit(c.buffer[:0], *l.unsettled), answerTime)
	if errors.Is(err, ErrSilent) {
		return nil
	}
	l.unsettled = nil
	if err == nil {
		_, err = parseReply(b, 0)
	}
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return err
}

// settleLater is settle once a silent holder continues. The holder logs why it fails.
func (c *Conn) settleLater(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(l)
}
