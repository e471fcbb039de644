package client

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

// closeBefore closes the sockets of the attempts before one.
func (u *unwatched) closeBefore(attempt int) {
	for _, tr := range u.sent {
		if tr.attempt < attempt {
			tr.sender.Close()
		}
	}
}

// awaitICMP waits for ICMP errors. Certain: further attempts would have the same result,
// since each address refuses all knocks of a sequence, in the minute of now.
func (u *unwatched) awaitICMP(ctx context.Context, wait time.Duration) (certain bool, err error) {
	const step = 10 * time.Millisecond
	for end := time.Now().Add(wait); ; {
		rejected := map[netip.Addr]bool{}
		for _, tr := range u.sent {
			tr.icmp = tr.sender.icmp()
			u.found.noteICMP(tr)
			rejected[tr.knock] = rejected[tr.knock] || tr.icmp.all(u.cfg.Profile.Ports)
		}
		certain = schedule.MinuteOf(u.cfg.Now()) == u.minute
		for _, t := range u.targets {
			certain = certain && (rejected[t.knock] || u.last(t) == nil)
		}
		if certain || !time.Now().Before(end) {
			return certain, nil
		}
		if err := sleep(ctx, step); err != nil {
			return false, err
		}
	}
}

// last returns the last sequence to an address; nil: this computer could send none.
func (u *unwatched) last(t target) *trial {
	for _, tr := range slices.Backward(u.sent) {
		if tr.knock == t.knock {
			return tr
		}
	}
	return nil
}

// addLater adds the addresses that only the resolver gives, if it answers in time, and
// reports whether there are any.
func (u *unwatched) addLater(ctx context.Context, wait time.Duration) bool {
	if u.later == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case list := <-u.later:
		u.later = nil
		return len(u.know(list)) > 0
	case <-ctx.Done():
		return false
	}
}
