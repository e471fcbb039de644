package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// now is a clock that stands still.
var now = clock.Clock{Wall: time.Now, Monotonic: time.Now, Boot: time.Now}

// serviceOf returns the service of the port at an index of Config.Ports.
func serviceOf(place int) access.ServiceID { return access.ID(fmt.Sprint(place)) }

// withServices sets the service of each port to that of its index.
func withServices(cfg Config) Config {
	for i := range cfg.Ports {
		cfg.Ports[i].Service = serviceOf(i)
	}
	return cfg
}

// change returns a change that lets in an address for a time, for IPv6 with its
// network; the time 0 revokes it.
func change(place int, a netip.Addr, d time.Duration) access.Change {
	return changeOf(place, access.PeerOf(a, access.PrefixNetwork), d)
}

// numberedChange is change for connections that begin with a sequence number.
func numberedChange(place int, a netip.Addr, n wire.ISN, d time.Duration) access.Change {
	p := access.PeerOf(a, access.PrefixHost)
	p.ISN = n
	return changeOf(place, p, d)
}

func changeOf(place int, p access.Peer, d time.Duration) access.Change {
	c := access.Change{Service: serviceOf(place), Peer: p}
	if d != 0 {
		c.Until = now.Boot().Add(d)
	}
	return c
}

func (t *Table) do(changes ...access.Change) error { return errors.Join(t.Apply(changes)...) }

func (t *Table) grant(place int, a netip.Addr, d time.Duration) error {
	return t.do(change(place, a, d))
}

func (t *Table) revoke(place int, a netip.Addr) error { return t.do(change(place, a, 0)) }

// anyone lets in every address for a time; 0 revokes.
func (t *Table) anyone(place int, d time.Duration) error {
	return t.do(changeOf(place, access.Anyone4, d), changeOf(place, access.Anyone6, d))
}

// granted returns the number of grants, including those to anyone.
func (t *Table) granted() (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch, err := newBatch()
	if err != nil {
		return 0, err
	}
	for _, s := range t.sets.withTimeouts() {
		if s == t.sets.knock || isSettling(s.Name) || isTrial(s.Name) {
			continue
		}
		elements, err := batch.GetSetElements(s)
		if err != nil {
			return 0, fmt.Errorf("count the grants in %s: %w", s.Name, explain(err))
		}
		n += len(elements)
	}
	return n, nil
}

// tester is the owner of the tables of tests.
var tester = Owner{Config: "/etc/sallyport/test.toml", Generation: "1"}
