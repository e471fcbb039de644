package daemon

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// memoryRecord is a record of addresses.
type memoryRecord struct {
	list []state.Lease
	fail error
}

func (m *memoryRecord) RecordLeases(_ []sessions.Entry, leases []state.Lease) ([]state.Lease, error) {
	if m.fail == nil {
		m.list = append(m.list, leases...)
	}
	return nil, m.fail
}

func (m *memoryRecord) Leases() []state.Lease { return m.list }

func (m *memoryRecord) Forget(leases []state.Lease) error {
	m.list = slices.DeleteFunc(m.list, func(l state.Lease) bool {
		return slices.ContainsFunc(leases, func(gone state.Lease) bool { return addressOf(gone) == addressOf(l) })
	})
	return nil
}

// TestAddressThatCouldNotBeRecorded: the next grant for it records it, and does not
// take it for recorded.
func TestAddressThatCouldNotBeRecorded(t *testing.T) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	record := &memoryRecord{fail: errors.New("no space")}
	c := newCarried(record, now, now)
	c.addService(access.ID("ssh"), access.PrefixHost4, access.PrefixHost, time.Minute)
	may := func(wire.Identifier, access.ServiceID) bool { return true }
	grant := []sessions.Grant{{Identifier: wire.Identifier{'c', 'o', 'm', '1'}, Address: netip.MustParseAddr("192.0.2.1")}}
	for _, untilClosed := range []bool{false, true} {
		if _, err := c.admit(grant, untilClosed, may); !errors.Is(err, record.fail) {
			t.Errorf("untilClosed %v: %v", untilClosed, err)
		}
	}
	record.fail = nil
	if _, err := c.admit(grant, false, may); err != nil || len(record.list) != 1 {
		t.Errorf("%v, recorded %+v", err, record.list)
	}
}

// TestAddressOfKeptLease: the address of a lease without an end is recorded so that
// other addresses do not displace it, and is not forgotten while the lease lasts.
func TestAddressOfKeptLease(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	record := &memoryRecord{}
	clock := func() time.Time { return now }
	c := newCarried(record, clock, clock)
	id := access.ID("ssh")
	c.addService(id, access.PrefixHost4, access.PrefixHost, time.Minute)
	may := func(wire.Identifier, access.ServiceID) bool { return true }
	one := []sessions.Grant{{Identifier: wire.Identifier{'c', 'o', 'm', '1'}, Address: netip.MustParseAddr("192.0.2.1")}}
	at := address{one[0].Identifier, id, access.PeerOf(one[0].Address, access.PrefixHost)}
	admit := func(untilClosed bool) {
		t.Helper()
		if _, err := c.admit(one, untilClosed, may); err != nil {
			t.Fatal(err)
		}
	}
	admit(false)
	record.fail = errors.New("no space")
	if _, err := c.admit(one, true, may); err == nil {
		t.Error("an address that cannot be recorded")
	}
	record.fail = nil
	admit(true) // the lease of knocks has become one without an end
	admit(true)
	admit(false)
	if len(record.list) != 2 || !record.list[0].Until.Equal(now.Add(time.Minute)) || !record.list[1].Until.Equal(untilClosedEnd) {
		t.Fatalf("recorded: %+v", record.list)
	}
	now = now.Add(time.Hour)
	lasts := func(a address) bool { return a == at }
	if idle := c.idle(lasts); len(idle) != 0 {
		t.Errorf("idle while the lease lasts: %v", idle)
	}
	idle := c.idle(func(address) bool { return false })
	if !slices.Equal(idle, []address{at}) {
		t.Errorf("idle after the lease: %v", idle)
	}
	if err := c.forget(idle, now); err != nil || len(record.list) != 0 || len(c.open)+len(c.untilClosed) != 0 {
		t.Errorf("forgotten: %v, %+v", err, record.list)
	}
	admit(true)
	if len(record.list) != 1 || !record.list[0].Until.Equal(untilClosedEnd) {
		t.Errorf("recorded again: %+v", record.list)
	}
}
