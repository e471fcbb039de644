package client

import (
	"context"
	"errors"
)

// errNoClock is the error of a sequence whose nonces should go by the clock, if the
// client is further already.
var errNoClock = errors.New("the nonces are ahead of the clock")

// reserve returns the first nonce of a sequence. Moved: it is ahead of the next one.
func (k *knocking) reserve(ctx context.Context, s sequence) (base uint32, moved bool, err error) {
	if len(k.reserved) == 0 || k.of != s {
		count := max(k.expected, 1)
		k.expected, k.reserved, k.of = 0, nil, s
		if base, err = k.reserveMany(ctx, s, count*k.cfg.Profile.Ports); err != nil {
			return 0, false, err
		}
		for i := range count {
			k.reserved = append(k.reserved, base+uint32(i*k.cfg.Profile.Ports))
		}
	}
	base, k.reserved = k.reserved[0], k.reserved[1:]
	return base, k.nonces.moved || s.byClock, nil
}

// reserveMany reserves n nonces for sequences. Only the first sequence of an attempt
// moves them ahead. It returns errNoClock if no nonces go by the clock.
func (k *knocking) reserveMany(ctx context.Context, s sequence, n int) (base uint32, err error) {
	client := k.cfg.Profile.Identifier.String()
	switch {
	case s.byClock:
		base, ok, err := k.cfg.Nonces.reserveByClock(ctx, n, k.cfg.Now())
		if err == nil && !ok {
			err = errNoClock
		}
		return base, err
	case k.begun == s.attempt:
		return k.cfg.Nonces.reserveMore(ctx, client, n, k.nonces.other != s.second)
	}
	k.begun = s.attempt
	k.nonces, err = k.cfg.Nonces.reserve(ctx, client, n, k.cfg.Now())
	return k.nonces.base, err
}
