package shield

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/holder"
)

// TestReportsOnce: an error that stays is in the log once, beside another one, and again
// if it comes back.
func TestReportsOnce(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	makeLink(t, netns.NewHost(t), "first", "192.0.2.1/24")
	flows, addresses := errors.New("no flows"), errors.New("no room")
	r := &recorder{attached: map[int]bool{}, lost: map[int]bool{}, flowsFail: flows, addressesFail: addresses}
	var log bytes.Buffer
	s := &Shield{
		log: slog.New(slog.NewTextHandler(&log, nil)), program: r, attach: r.attach,
		attached: map[int]place{}, failed: map[string]string{}, unread: map[task]string{}, request: holder.ShieldRequest{},
	}
	for _, step := range []struct {
		flows, addresses error
		logged           int // of each, so far
	}{{flows, addresses, 1}, {flows, addresses, 1}, {nil, nil, 1}, {flows, addresses, 2}} {
		r.flowsFail, r.addressesFail = step.flows, step.addresses
		if step.logged == 2 {
			s.pairs = nil // the addresses have changed
		}
		for range 3 {
			s.reconcile()
		}
		for _, err := range []error{flows, addresses} {
			if n := strings.Count(log.String(), err.Error()); n != step.logged {
				t.Errorf("%q is in the log %d times, want %d\n%s", err, n, step.logged, log.String())
			}
		}
	}
}
