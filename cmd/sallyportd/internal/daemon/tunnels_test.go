package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions/gate"
	carriedtable "sallyport/sessions/handshakes/carried"
)

// newTunnelChallenger is a challenger with operations, whose gate lets in any tunnel.
func newTunnelChallenger(now func() time.Time, of ...proven) *challenger {
	c := &challenger{
		now: now, wall: now, uses: &uses{}, proofs: newProofs(now), log: slog.New(slog.DiscardHandler), newLink: gate.NewLink,
		tunnel: func(_ gate.Command, _ gate.Tunnel, l *gate.Link) (func(), error) {
			l.Close()
			return func() {}, nil
		},
	}
	o := operations{byID: map[string]operation{}}
	for _, p := range of {
		o.byID[p.ID] = p.operation
	}
	c.operations.Store(&o)
	return c
}

// TestLinkDelaysNoCommand: while other users of the host delay the connection of a tunnel,
// proofs are executed, and operations change; the tunnel gets what is then in force.
func TestLinkDelaysNoCommand(t *testing.T) {
	t.Parallel()
	o := newProof(t, "ssh-alice", "alic", "ssh")
	c := newTunnelChallenger(time.Now, o)
	waits, ready := make(chan bool), make(chan bool)
	c.newLink = func() (*gate.Link, error) {
		waits <- true
		<-ready
		return gate.NewLink()
	}
	done := make(chan error)
	go func() {
		_, err := c.letIn(carriedtable.Proof{Proof: o.grant}, self4, nil)
		done <- err
	}()
	<-waits
	executed := make(chan bool)
	c.execute = func(all []command) []error {
		close(executed)
		return make([]error, len(all))
	}
	go c.executeProofs([]proof{{o.grant, self4, nil}})
	<-executed
	c.update(operations{})
	close(ready)
	if err := <-done; !errors.Is(err, errOperationGone) {
		t.Errorf("a tunnel of an operation that is gone: %v", err)
	}
}

// TestTunnelsAreBounded: one secret, with any number of addresses, opens a bounded number
// of tunnels a second and at a time, and keeps no tunnel of another operation out. A client
// has no more of them than it has commands.
func TestTunnelsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	client, shared, honest := newProof(t, "ssh-evil-", "evil", "ssh"), newProof(t, "web-for-all", "", "web"), newProof(t, "ssh-alice", "alic", "ssh")
	for name, c := range map[string]struct {
		insider          proven
		second, atATime  int
		everyAddressSame bool
	}{
		"of a client":                   {client, 25, maxTunnelsEach, false},
		"without a client":              {shared, 64 + 50, maxTunnelsEach, false},
		"without a client, one address": {shared, 25, maxTunnelsEach, true},
	} {
		t.Run(name, func(t *testing.T) {
			ch := newTunnelChallenger(func() time.Time { return now }, client, shared, honest)
			open, opened, first := 0, 0, 0
			for i := range uint32(60_000) { // a minute, and each tunnel stays
				from := anAddress(i, 1)
				if c.everyAddressSame {
					from = anAddress(7, i)
				}
				if _, ok := ch.begin(carriedtable.Proof{Proof: c.insider.grant}, from); ok {
					open++
				}
				if now = now.Add(time.Millisecond); i == 999 {
					first = open
				}
				if i%1000 == 0 {
					end, ok := ch.begin(carriedtable.Proof{Proof: honest.grant}, self4)
					if !ok {
						t.Fatalf("after %d: no tunnel of another operation", i)
					}
					end()
					opened++
				}
			}
			if first > c.second || open != c.atATime {
				t.Errorf("%d in the first second, want %d at most; %d at a time, want %d", first, c.second, open, c.atATime)
			}
		})
	}
}

// TestTunnelsInSum: all tunnels together are bounded, those of one owner give their place
// to others when they end, and an operation that is gone leaves nothing behind.
func TestTunnelsInSum(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var b tunnelBounds
	var ends []func()
	for i := range maxTunnels {
		end, ok := b.begin(fmt.Sprint(i%16), fmt.Sprint(i%16), now)
		if !ok {
			t.Fatalf("refused after %d", i)
		}
		ends, now = append(ends, end), now.Add(time.Second)
	}
	if _, ok := b.begin("another", "another", now); ok {
		t.Error("one more than all")
	}
	ends[0]()
	if _, ok := b.begin("another", "another", now); !ok {
		t.Error("no place after one has ended")
	}
	for _, end := range ends[1:] {
		end()
	}
	b.keep(operations{})
	if b.all != 1 || len(b.of) != 1 || len(b.rates) != 0 {
		t.Errorf("%d tunnels of %v, rates of %v", b.all, b.of, b.rates)
	}
}

// TestTunnelBeyondBounds: it is refused with the reason, and does not reach the gate.
func TestTunnelBeyondBounds(t *testing.T) {
	t.Parallel()
	o := newProof(t, "ssh-alice", "alic", "ssh")
	now := time.Unix(1_800_000_000, 0)
	c := newTunnelChallenger(func() time.Time { return now }, o)
	p := carriedtable.Proof{Proof: o.grant}
	refused := ""
	for refused == "" {
		refused = c.carry(p, netip.MustParseAddr("192.0.2.1"), nil)
	}
	if refused != "too many tunnels" || c.proofs.counts.limited.Load() != 1 || c.tunnels.all != 0 {
		t.Errorf("refused with %q, %d counted, %d open", refused, c.proofs.counts.limited.Load(), c.tunnels.all)
	}
}
