package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/helper"
	"sallyport/sessions/state"
)

// holderWait is how long the server waits at its start for a holder that goes on
// by itself: it may be about to start anew.
const holderWait = 5 * time.Second

// begin takes the state directory, and then has the holder close everything, if
// the configuration requires a holder: else it does nothing. While another server has the directory, nothing
// of the firewall is touched. If the directory cannot be taken for any other
// reason, no server serves: everything is closed all the same.
func begin(ctx context.Context, cfg *config.Config, host config.Host, left privilege.Resumed, c clock.Clock) (*helper.Conn, *state.Lock, error) {
	h, why := left.Client, cfg.NeedsFirewall(host)
	if h == nil && why == "" {
		return nil, nil, nil // the directory has time until all has been read
	}
	lock, err := state.TakeLock(ctx, cfg.StateDir, daemon.StateWait)
	var locked *state.LockedError
	if errors.As(err, &locked) {
		return nil, nil, errors.Join(err, closeHolder(h))
	}
	if h == nil {
		h = helper.NewDialingConn(helper.Dialer(cfg.FirewallSocket), c)
	}
	waits, cancel := context.WithTimeout(ctx, holderWait)
	defer cancel()
	if failed := h.Begin(waits, cfg.Digest()); failed != nil {
		err = errors.Join(err, explain(failed, cfg, why, left.Client != nil))
	}
	if err != nil {
		h.Close()
		if lock != nil {
			lock.Close()
		}
		return nil, nil, err
	}
	return h, lock, nil
}

// explain says what to do about a holder that does not begin.
func explain(err error, cfg *config.Config, why string, started bool) error {
	switch {
	case errors.Is(err, helper.ErrOtherConfiguration) && started:
		return cli.WithHint(err, "the configuration has changed while the server started: start it again")
	case errors.Is(err, helper.ErrOtherConfiguration):
		return cli.WithHint(err, "have the holder read this one: systemctl reload sallyportd-firewall, or SIGHUP to \"sallyportd firewall hold\"")
	case errors.Is(err, helper.ErrOtherRelease):
		return cli.WithHint(err, "restart it: systemctl restart sallyportd-firewall; meanwhile everything stays closed")
	case started && errors.Is(err, helper.ErrRefused):
		return cli.WithHint(fmt.Errorf("start the firewall's holder: %w", err), "if the table is another's: "+privilege.TakeOverHint)
	case started:
		return fmt.Errorf("start the firewall's holder: %w", err)
	case errors.Is(err, helper.ErrRefused):
		return cli.WithHint(err, fmt.Sprintf("a holder answers at %s: it takes one server at a time, of root, of its own user, or of \"user\"", cfg.FirewallSocket))
	}
	return cli.WithHint(fmt.Errorf("%s takes the firewall, and no process was started that keeps CAP_NET_ADMIN for it: %w", why, err),
		fmt.Sprintf("start \"sallyportd firewall hold\", which answers at %s; or the configuration has changed while the server started, or SALLYPORTD_DROPPED, which only the server may set, was in its environment: start it again, without that variable", cfg.FirewallSocket))
}

// closeHolder leaves a holder that has not begun: it has touched nothing.
func closeHolder(h *helper.Conn) error {
	if h == nil {
		return nil
	}
	return h.Close()
}
