package grants

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// host is a gateway without etcd. Hooks are called in the middle of its work.
type host struct {
	*Grants
	table        *verify.KeyTable
	asked, opens func(wire.Identifier) // in Known or Recorded, and in OpenShared
	known        bool                  // Recorded is not called
	opened, shut []wire.Identifier
	cannot       wire.Identifier // may open no shared service
}

func (h *host) Known(id wire.Identifier, _ verify.Fingerprint, _ uint32, _ int) bool {
	if h.known {
		h.asked(id)
	}
	return h.known
}

func (h *host) Recorded(_ context.Context, id wire.Identifier, _ verify.Fingerprint, _ uint32, _ int) (bool, error) {
	h.asked(id)
	return true, nil
}

func (h *host) OpenShared(list []gate.SharedGrant) []error {
	for _, g := range list {
		h.opens(g.Identifier)
		h.opened = append(h.opened, g.Identifier)
	}
	return nil
}

func (h *host) CloseShared(g sessions.Grant) { h.shut = append(h.shut, g.Identifier) }

func (h *host) SharedFor(id wire.Identifier) time.Duration {
	if id == h.cannot {
		return 0
	}
	return openFor
}

func newHost(t *testing.T) *host {
	h := &host{table: verifytest.Table(t, verifytest.Clients("com1", "com2")...), asked: func(wire.Identifier) {}, opens: func(wire.Identifier) {}}
	h.Grants = &Grants{
		book: newBook(), sender: newSender(), waiting: newWaiting(),
		cfg: Config{
			Gateway: "own", Record: h, Gate: h, Close: func([]sessions.Closing) {}, Wall: time.Now, Log: slog.New(slog.DiscardHandler),
			Policy: func() Policy { return Policy{Table: h.table, Ports: knocks, Tolerance: tolerance} },
		},
	}
	return h
}

// carryOut applies changes, and asks for the values that wait.
func (h *host) carryOut(t *testing.T, changes ...cluster.Change) {
	t.Helper()
	h.apply(changes)
	for _, k := range h.waiting.keys() {
		if !h.ask(t.Context(), k) {
			t.Error("the record does not answer")
		}
	}
}

// granted returns the key of a client's grant at another gateway.
func (h *host) granted(t *testing.T, client string, base uint32) cluster.Change {
	t.Helper()
	k := grantKey{"other", verifytest.ID(client), ipv4}
	until := time.Now().Add(openFor)
	text, ok := encode(k, operation{attempt: attempt(client, base, 0), value: value{address: alice, end: until}}, h.table, time.Now())
	if !ok {
		t.Fatal("no value")
	}
	return cluster.Change{Key: k.String(), Value: text, Revision: 7}
}

// TestEndsWhileOpening: a client that a reload removes, or that closes here, while a grant
// of another gateway waits for etcd or for the gate, has nothing open afterwards.
func TestEndsWhileOpening(t *testing.T) {
	t.Parallel()
	com1, com2 := verifytest.ID("com1"), verifytest.ID("com2")
	removes := func(t *testing.T, h *host) { h.table = verifytest.Table(t, verifytest.Clients("com2")...) }
	closes := func(_ *testing.T, h *host) {
		h.Closed([]sessions.Closing{{Identifier: com1, Address: alice, Attempt: attempt("com1", 20, 0)}})
	}
	for name, ends := range map[string]func(*testing.T, *host){"removed": removes, "closed": closes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, at := range []wire.Identifier{com1, com2} { // at the time of which client
				if name == "closed" && at == com1 {
					continue
				}
				h := newHost(t)
				h.known = at == com2 // after com1, in the same batch
				changes := []cluster.Change{h.granted(t, "com1", 7), h.granted(t, "com2", 7)}
				h.asked = func(id wire.Identifier) {
					if id == at {
						ends(t, h)
					}
				}
				h.carryOut(t, changes...)
				if want := []wire.Identifier{com2}; !slices.Equal(h.opened, want) {
					t.Errorf("while the record is asked for %s: opened for %v, want %v", at, h.opened, want)
				}
			}
			h := newHost(t)
			h.opens = func(wire.Identifier) { ends(t, h) }
			h.carryOut(t, h.granted(t, "com1", 7))
			if !slices.Equal(h.shut, []wire.Identifier{com1}) || h.counts[Opened].Load() > 0 {
				t.Errorf("while the gate opens: closed %v, counts %v", h.shut, h.Stats())
			}
		})
	}
}

// TestSnapshotKeeps: of a snapshot, only what may be a grant of a client stays in memory.
func TestSnapshotKeeps(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	f := (*follower)(h.Grants)
	good := h.granted(t, "com1", 7)
	long := good
	long.Value = append(slices.Clone(good.Value), make([]byte, wire.Size)...)
	f.Begin()
	f.Apply([]cluster.Change{{Key: "other/com1/5"}, {Key: "other/com9/4", Value: good.Value}, long, good})
	if n := len(h.snapshot); n != 1 || h.counts[Malformed].Load() != 2 || h.counts[Forged].Load() != 1 {
		t.Errorf("%d keys stay, counts %v", n, h.Stats())
	}
	f.Current(8)
	h.carryOut(t)
	if !slices.Equal(h.opened, []wire.Identifier{verifytest.ID("com1")}) {
		t.Errorf("opened for %v", h.opened)
	}
}

// TestRevokedWhileEtcdIsAsked: a revocation does not wait for the answer of etcd to a grant
// before it, of which nothing opens afterwards; nor does another value of its key.
func TestRevokedWhileEtcdIsAsked(t *testing.T) {
	t.Parallel()
	com1 := verifytest.ID("com1")
	for name, revokes := range map[string]bool{"deleted": true, "written again": false} {
		h := newHost(t)
		first, next := h.granted(t, "com1", 7), h.granted(t, "com1", 20)
		h.asked = func(wire.Identifier) {
			h.asked = func(wire.Identifier) {}
			if revokes {
				next = cluster.Change{Key: first.Key, Deleted: true}
			}
			h.apply([]cluster.Change{next})
		}
		h.carryOut(t, first)
		if len(h.opened) > 0 || len(h.waiting.values) > 0 == revokes {
			t.Errorf("%s: opened for %v, %d wait", name, h.opened, len(h.waiting.values))
		}
		h.carryOut(t)
		if got := slices.Equal(h.opened, []wire.Identifier{com1}); got == revokes {
			t.Errorf("%s: opened for %v", name, h.opened)
		}
	}
}

// TestOwnKeys: a gateway that has stopped before it could revoke its grants revokes them
// when it runs again.
func TestOwnKeys(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.cannot = verifytest.ID("com2")
	f := (*follower)(h.Grants)
	f.Begin()
	for _, client := range []string{"com1", "com2", "com9"} {
		c := h.granted(t, "com1", 7)
		c.Key = grantKey{"own", verifytest.ID(client), ipv4}.String()
		f.Apply([]cluster.Change{c})
	}
	f.Current(8)
	for client, want := range map[string]bool{"com1": false, "com2": true, "com9": true} {
		if got := h.sender.pending[h.key(verifytest.ID(client), ipv4)].deletes; got != want {
			t.Errorf("%s is revoked: %v, want %v", client, got, want)
		}
	}
}

// TestClosedAtAnotherGateway: with keys for each gateway, the bases of two gateways cannot be
// compared. A grant from before a closing attempt opens nothing, nor does its end close what
// a later one has opened.
func TestClosedAtAnotherGateway(t *testing.T) {
	t.Parallel()
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	l := limits{tolerance, openFor}
	now := time.Unix(1_700_000_000, 0)
	other := secretOf{verifytest.ID("com1"), verifytest.Fingerprint(verifytest.ID("com1")) + 1}
	b := newBook()
	b.local(other, closing, 3, uint32(now.Unix()), netip.Addr{}, now.Add(time.Hour), now)
	for after, want := range map[time.Duration]Outcome{-time.Second: Superseded, 0: Superseded, time.Second: Opened} {
		v, a := signed(t, table, 7, now.Add(after), alice, false, now.Add(time.Minute))
		if got := b.consider(v, a, l, now); got != want {
			t.Errorf("a grant %s after the closing: %s, want %s", after, got, want)
		}
	}
	k := grantKey{"a", verifytest.ID("com1"), ipv4}
	v, a := signed(t, table, 7, now.Add(time.Second), alice, false, now.Add(time.Minute))
	b.accept(k, v, a, l, now)
	b.local(other, ipv4, 4, uint32(now.Unix())+2, alice, now.Add(time.Hour), now)
	if revoked := b.remove(k, l, now); len(revoked) > 0 {
		t.Error("the deletion of an earlier grant revokes a later one")
	}
	v, a = signed(t, table, 20, now.Add(time.Second), alice, true, now.Add(time.Minute))
	if got := b.consider(v, a, l, now); got != Superseded {
		t.Errorf("a closing attempt from before a grant: %s", got)
	}
}
