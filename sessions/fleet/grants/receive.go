package grants

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// follower is Grants as cluster.Follow sees it.
type follower Grants

// Begin implements cluster.Follower.
func (f *follower) Begin() {
	f.work.Lock()
	defer f.work.Unlock()
	f.snapshot = []cluster.Change{}
}

// Apply implements cluster.Follower.
func (f *follower) Apply(changes []cluster.Change) {
	f.work.Lock()
	defer f.work.Unlock()
	g := (*Grants)(f)
	if f.snapshot == nil {
		g.apply(changes)
		return
	}
	p := g.cfg.Policy()
	for _, c := range changes {
		if isMark(c.Key) {
			continue
		}
		if outcome := g.plausible(c, p); outcome != Opened {
			g.count(outcome)
			continue
		}
		f.snapshot = append(f.snapshot, c)
	}
}

// plausible returns Opened for what a snapshot must keep until it is complete: keys of
// clients, with values of the right size. So a gateway that was taken over, which writes
// any keys, takes no memory here.
func (g *Grants) plausible(c cluster.Change, p Policy) Outcome {
	k, ok := parseKey(c.Key)
	if !ok {
		return Malformed
	}
	if _, registered := p.Table.Secrets(k.client); k.gateway != g.cfg.Gateway && !registered {
		return Forged
	}
	if len(c.Value) != offsetDatagrams+p.Ports*wire.Size {
		return Malformed
	}
	return Opened
}

// Current implements cluster.Follower. Of a snapshot, what closes comes first, since it
// may close what other keys of the snapshot open. A key that is not in it was deleted.
func (f *follower) Current(int64) {
	f.work.Lock()
	defer f.work.Unlock()
	if f.snapshot == nil {
		return
	}
	g, all := (*Grants)(f), f.snapshot
	f.snapshot = nil
	slices.SortStableFunc(all, func(a, b cluster.Change) int {
		if first, second := closes(a), closes(b); first != second {
			return cmp.Compare(second, first)
		}
		return cmp.Compare(a.Revision, b.Revision)
	})
	present := make(map[string]bool, len(all))
	for _, c := range all {
		present[c.Key] = true
	}
	gone := func(k grantKey) bool { return !present[k.String()] }
	for _, k := range g.waiting.keys() {
		if gone(k) {
			g.waiting.remove(k)
		}
	}
	g.mu.Lock()
	known := slices.Collect(maps.Keys(g.book.keys))
	g.mu.Unlock()
	for _, k := range known {
		if gone(k) {
			g.remove(k)
		}
	}
	g.apply(all)
}

func closes(c cluster.Change) int {
	if strings.HasSuffix(c.Key, "/"+slotNames[closing]) {
		return 1
	}
	return 0
}

// apply carries out changes. Those that open, one after the other, open together.
func (g *Grants) apply(changes []cluster.Change) {
	var open []accepted
	flush := func() {
		g.open(open)
		open = nil
	}
	for _, c := range changes {
		k, ok := parseKey(c.Key)
		switch {
		case isMark(c.Key):
		case !ok:
			g.count(Malformed)
		case k.gateway == g.cfg.Gateway:
			g.own(k, c.Deleted)
		case c.Deleted:
			flush()
			g.waiting.remove(k)
			g.remove(k)
		default:
			if k.slot == closing {
				flush()
			}
			g.waiting.remove(k)
			if a, opens := g.put(k, c.Value); opens {
				open = append(open, a)
			}
		}
	}
	flush()
}

// own revokes a grant of this gateway whose client may open nothing: the gateway has
// stopped before it could.
func (g *Grants) own(k grantKey, deleted bool) {
	if deleted || k.slot == closing {
		return
	}
	p := g.cfg.Policy()
	_, registered := p.Table.Secrets(k.client)
	expires, some := p.Table.ExpiresAt(k.client)
	if !registered || some && !g.cfg.Wall().Before(expires) || g.cfg.Gate.SharedFor(k.client) == 0 {
		g.Withdraw(k.client)
	}
}

// accepted is a grant that opens.
type accepted struct {
	key     grantKey
	value   value
	attempt verify.Attempt
	table   *verify.KeyTable // that authenticated it
	grant   gate.SharedGrant
}

// put carries out a value of a key, or returns what it opens. It never waits for etcd: if
// this gateway has not seen the nonces in the record, the value waits, and so do later ones
// of its client.
func (g *Grants) put(k grantKey, raw []byte) (_ accepted, opens bool) {
	x, plausible := g.examine(k, raw)
	if !plausible {
		return accepted{}, false
	}
	a := x.attempt
	if g.waiting.clients[k.client] > 0 || !g.cfg.Record.Known(k.client, a.Secret(), a.Base(), a.Count()) {
		g.waiting.set(k, raw)
		return accepted{}, false
	}
	return g.accept(x)
}

// examine returns the attempt of an authentic value that may open or close something now, if
// it is recorded. It counts why another one may not.
func (g *Grants) examine(k grantKey, raw []byte) (x accepted, plausible bool) {
	v, err := parseValue(raw)
	if err != nil {
		g.count(Malformed)
		return x, false
	}
	p, now := g.cfg.Policy(), g.cfg.Wall()
	a, outcome := authenticate(k, v, p, now)
	if outcome == Opened {
		g.mu.Lock()
		outcome = g.book.consider(v, a, g.limits(p, k.client), now)
		g.mu.Unlock()
	}
	if outcome != Opened && outcome != Closed {
		g.count(outcome)
		return x, false
	}
	return accepted{key: k, value: v, attempt: a, table: p.Table}, true
}

// accept carries out an authentic, recorded attempt, unless this gateway has granted or
// closed a newer one meanwhile.
func (g *Grants) accept(x accepted) (_ accepted, opens bool) {
	l, now := g.limits(g.cfg.Policy(), x.key.client), g.cfg.Wall()
	g.mu.Lock()
	outcome := g.book.consider(x.value, x.attempt, l, now)
	var shared sharedGrant
	if outcome == Opened || outcome == Closed {
		shared = g.book.accept(x.key, x.value, x.attempt, l, now)
	}
	g.mu.Unlock()
	switch outcome {
	case Opened:
		of := sessions.Grant{Identifier: x.key.client, Address: shared.address, Differ: shared.differ, ISN: x.attempt.ISN()}
		x.grant = gate.SharedGrant{Grant: of, From: shared.from, Until: shared.until}
		return x, true
	case Closed:
		g.cfg.Close([]sessions.Closing{{Identifier: x.key.client, Address: x.value.address}})
	}
	g.count(outcome)
	return accepted{}, false
}

// authenticate checks that a client made the datagrams, and that a gateway which has the
// secret wrote the value for this key. Otherwise it returns why not.
func authenticate(k grantKey, v value, p Policy, now time.Time) (verify.Attempt, Outcome) {
	a, ok := p.verify(k.gateway, v, now.Unix())
	switch {
	case !ok:
		return a, Forged
	case a.Identifier() != k.client || a.Closes() != v.closes || v.closes != (k.slot == closing) ||
		!v.closes && slotOf(v.address) != k.slot:
		return a, Misplaced
	}
	return a, Opened
}

// verify authenticates the datagrams and the tag of a value that a gateway wrote.
func (p Policy) verify(gateway string, v value, now int64) (a verify.Attempt, ok bool) {
	var reason verify.Reason
	text := v.tagged(gateway)
	if p.Secrets == nil {
		a, reason = p.Table.Attempt(v.datagrams, p.Ports, now)
		return a, reason == verify.Authentic && p.Table.Tagged(a.Identifier(), a.Secret(), text, v.tag[:], now)
	}
	a, reason = p.Secrets.AttemptAt(gateway, v.datagrams, p.Ports, now)
	if reason == verify.Authentic {
		return a, p.Secrets.TaggedAt(gateway, a.Identifier(), a.Secret(), text, v.tag[:], now)
	}
	if !p.Split {
		return a, false
	}
	a, reason = p.Secrets.Attempt(v.datagrams, p.Ports, now)
	return a, reason == verify.Authentic && !a.Closes() && p.Secrets.Tagged(a.Identifier(), a.Secret(), text, v.tag[:], now)
}

// open passes grants to the gate, if they hold. A revocation while the gate opens
// does not find their leases yet, so they are compared again afterwards.
func (g *Grants) open(list []accepted) {
	var grants []gate.SharedGrant
	list = slices.DeleteFunc(list, func(x accepted) bool {
		outcome, _ := g.holds(x)
		if outcome != Opened {
			g.count(outcome)
			return true
		}
		grants = append(grants, x.grant)
		return false
	})
	if len(grants) == 0 {
		return
	}
	errs := g.cfg.Gate.OpenShared(grants)
	for i, x := range list {
		if outcome, covered := g.holds(x); outcome != Opened {
			if !covered {
				g.cfg.Gate.CloseShared(x.grant.Grant)
			}
			g.count(outcome)
			continue
		}
		if errs == nil || errs[i] == nil {
			g.count(Opened)
			continue
		}
		g.count(Failed)
		g.cfg.Log.Error("failed to open services for a grant of another gateway", "client", x.key.client, "address", x.grant.Address, "error", errs[i])
	}
}

// holds returns Opened if a grant may open: since it was accepted, a reload may have
// removed its client or secret, and the client may have closed here. covered: see book.
func (g *Grants) holds(x accepted) (o Outcome, covered bool) {
	o = Opened
	if p := g.cfg.Policy(); p.Table != x.table {
		_, o = authenticate(x.key, x.value, p, g.cfg.Wall())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o == Opened && g.book.closed(x.attempt) {
		o = Superseded
	}
	return o, g.book.covered(x.key.slot, x.key.client, x.attempt.Secret(), x.attempt.Base(), x.attempt.Timestamp(), x.value.address)
}

// remove carries out the deletion of a key: before its end, it is a revocation.
func (g *Grants) remove(k grantKey) {
	l, now := g.limits(g.cfg.Policy(), k.client), g.cfg.Wall()
	g.mu.Lock()
	revoked := g.book.remove(k, l, now)
	g.mu.Unlock()
	for _, grant := range revoked {
		g.cfg.Gate.CloseShared(sessions.Grant{Identifier: k.client, Address: grant.address, Differ: grant.differ})
		g.count(Revoked)
	}
}
