package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// holding is an operation without an end.
func holding(id, client string) operation {
	return operation{
		Operation: config.Operation{ID: id, Service: "web", Client: client, UntilClosed: true}, service: access.ID("web"),
		prefixLen6: access.PrefixHost, secrets: []verify.Fingerprint{1}, clientSecret: verify.Fingerprint(2 * min(len(client), 1)),
	}
}

// memoryKept is a record on a disk that a test breaks.
type memoryKept struct {
	*kept
	disk              []state.Kept
	writeErr, dropErr error
	after             bool // a write that fails has changed the file nevertheless
}

func newMemoryKept() *memoryKept {
	m := &memoryKept{kept: newKept(slog.New(slog.DiscardHandler))}
	m.write = func(list []state.Kept) error {
		if m.writeErr == nil || m.after {
			m.disk = slices.Clone(list)
		}
		return m.writeErr
	}
	m.read = func() ([]state.Kept, error) { return slices.Clone(m.disk), nil }
	m.drop = func() error {
		if m.dropErr == nil {
			m.disk = nil
		}
		return m.dropErr
	}
	return m
}

func (m *memoryKept) has(l keptLease) bool { return slices.Contains(m.disk, l.Kept) }

var keptAt = time.Unix(1_800_000_000, 0)

// TestRecordFirst: a lease that cannot be recorded is not opened; one that has ended
// is never left on the disk, as long as any change of it is possible.
func TestRecordFirst(t *testing.T) {
	one, two := holding("hold-one", "com1").keep(anAddress(1, 1), nil, keptAt), holding("hold-two", "com2").keep(anAddress(1, 2), nil, keptAt)
	full := errors.New("no space left")
	for _, after := range []bool{false, true} {
		m := newMemoryKept()
		m.after = after
		if errs, _ := m.put([]keptLease{one, two}); errs[0] != nil || errs[1] != nil || !m.has(one) || !m.has(two) {
			t.Fatalf("%v, on disk %v", errs, m.disk)
		}
		// Opening on a full disk fails, and costs no other lease its record.
		m.writeErr = full
		three := holding("hold-three", "com3").keep(anAddress(1, 3), nil, keptAt)
		if errs, _ := m.put([]keptLease{three}); !errors.Is(errs[0], full) {
			t.Errorf("recorded on a full disk: %v", errs)
		}
		if m.flush(); m.has(three) || !after && (!m.has(one) || !m.has(two)) || len(m.all()) != 2 {
			t.Errorf("after a failed opening: on disk %v", m.disk)
		}
		m.writeErr = nil
		if err, endErr := m.flush(); err != nil || endErr != nil || !m.has(one) || !m.has(two) || m.isFailing() {
			t.Errorf("%v, %v, on disk %v", err, endErr, m.disk)
		}
		// A close on a full disk: the file is removed.
		m.writeErr = full
		m.end(one.at)
		if err, endErr := m.flush(); err == nil || endErr != nil || len(m.disk) != 0 || !m.isFailing() {
			t.Errorf("closed on a full disk: %v, %v, on disk %v", err, endErr, m.disk)
		}
		m.writeErr = nil
		if err, _ := m.flush(); err != nil || m.has(one) || !m.has(two) {
			t.Errorf("%v, on disk %v", err, m.disk)
		}
		// A close on a disk that cannot be changed at all is reported, and retried.
		m.writeErr, m.dropErr = full, full
		m.end(two.at)
		if _, endErr := m.flush(); endErr == nil {
			t.Error("the end is on no disk, and was reported as recorded")
		}
		if m.dropErr = nil; !after {
			if _, endErr := m.flush(); endErr != nil || len(m.disk) != 0 {
				t.Errorf("%v, on disk %v", endErr, m.disk)
			}
		}
	}
}

// TestRecordIsBounded: an insider with a secret does not make the record grow beyond
// its bounds, and replaces no lease of others.
func TestRecordIsBounded(t *testing.T) {
	m := newMemoryKept()
	m.write = func([]state.Kept) error { return nil }
	shared, alone := holding("hold-all", ""), holding("hold-one", "com1")
	victim := holding("hold-two", "com2").keep(anAddress(9, 9), nil, keptAt)
	m.put([]keptLease{victim})
	for name, o := range map[string]operation{"without a client": shared, "of a client": alone} {
		accepted := 0
		for i := range uint32(300) {
			if errs, _ := m.put([]keptLease{o.keep(anAddress(2, i), nil, keptAt)}); errs[0] == nil {
				accepted++
			}
		}
		if accepted != 256 {
			t.Errorf("%s: %d leases", name, accepted)
		}
		// A lease that exists may be requested again.
		if errs, _ := m.put([]keptLease{o.keep(anAddress(2, 1), nil, keptAt)}); errs[0] != nil {
			t.Errorf("%s, again: %v", name, errs)
		}
	}
	for i := range uint32(state.MaxKept - 520) {
		l := holding("hold", fmt.Sprintf("%04d", i)).keep(anAddress(3, i), nil, keptAt)
		m.leases[l.at] = l.Kept
	}
	accepted := 0
	for i := range uint32(20) {
		i += state.MaxKept
		l := holding("hold", fmt.Sprintf("%04d", i)).keep(anAddress(3, i), nil, keptAt)
		if errs, _ := m.put([]keptLease{l}); errs[0] == nil {
			accepted++
		}
	}
	list := m.all()
	kept := slices.ContainsFunc(list, func(l keptLease) bool { return l.at == victim.at })
	if len(list) != state.MaxKept || accepted != 7 || !kept {
		t.Errorf("%d leases, %d of them the last", len(list), accepted)
	}
}

// TestSameLeaseAgain: a request of a lease that exists keeps its beginning; if the
// gate then fails, the record is as before.
func TestSameLeaseAgain(t *testing.T) {
	m := newMemoryKept()
	first, again := holding("hold-one", "com1").keep(anAddress(1, 1), nil, keptAt), holding("hold-other", "com1").keep(anAddress(1, 1), nil, keptAt.Add(time.Hour))
	m.put([]keptLease{first})
	errs, undo := m.put([]keptLease{again})
	want := again.Kept
	want.Since = keptAt
	if errs[0] != nil || !slices.Equal(m.disk, []state.Kept{want}) {
		t.Errorf("%v, on disk %+v", errs, m.disk)
	}
	undo(0)
	if m.flush(); len(m.disk) != 1 || m.disk[0] != first.Kept {
		t.Errorf("undone: on disk %+v", m.disk)
	}
	// A client that is revoked between the record and the gate: no undo restores it.
	_, undo = m.put([]keptLease{again})
	m.end(again.at)
	undo(0)
	if m.flush(); len(m.disk) != 0 {
		t.Errorf("ended, and then undone: on disk %+v", m.disk)
	}
	// The same lease twice in a batch.
	_, undo = m.put([]keptLease{first, again})
	undo(1)
	undo(0)
	if m.flush(); len(m.disk) != 0 {
		t.Errorf("both undone: on disk %+v", m.disk)
	}
}

// TestNotGrantedNow: a recorded lease opens again only while all its terms are as
// they were.
func TestNotGrantedNow(t *testing.T) {
	address := netip.MustParseAddr("2001:db8::1")
	was := holding("hold-web", "com1")
	l := was.keep(address, nil, keptAt).Kept
	for want, change := range map[string]func(*operation){
		"":                                 func(*operation) {},
		"does not open until it is closed": func(o *operation) { o.UntilClosed = false },
		"for another service or client":    func(o *operation) { o.Service = "ssh" },
		"service or client":                func(o *operation) { o.Client = "com2" },
		"or client":                        func(o *operation) { o.Client = "" },
		"the operation has a new secret":   func(o *operation) { o.secrets = []verify.Fingerprint{2} },
		"the client has a new secret":      func(o *operation) { o.clientSecret++ },
		"excludes the address":             func(o *operation) { o.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} },
		"open_to":                          func(o *operation) { o.anyone = true },
		"grant_prefix6":                    func(o *operation) { o.prefixLen6 = access.PrefixNetwork },
		"until it is closed":               func(o *operation) { o.Close = true },
	} {
		o := was
		change(&o)
		reason := operations{byID: map[string]operation{"hold-web": o}}.refuses(l)
		if (reason == "") != (want == "") || !strings.Contains(reason, want) {
			t.Errorf("want %q, got %q", want, reason)
		}
	}
	four := was.keep(netip.MustParseAddr("192.0.2.1"), nil, keptAt).Kept
	for prefixLen4, want := range map[int]string{32: "", 24: "grant_prefix4", 31: "grant_prefix4"} {
		o := was
		o.prefixLen4 = prefixLen4
		reason := operations{byID: map[string]operation{"hold-web": o}}.refuses(four)
		if (reason == "") != (want == "") || !strings.Contains(reason, want) {
			t.Errorf("%d bits: %q", prefixLen4, reason)
		}
	}
	if reason := (operations{}).refuses(l); !strings.Contains(reason, "gone") {
		t.Errorf("without the operation: %q", reason)
	}
	if l.Client != (wire.Identifier{'c', 'o', 'm', '1'}) || l.Peer.Prefix.Addr() != address {
		t.Errorf("%+v", l)
	}
}

// TestKeyRemoved: a lease without an end is that of a public key. It ends with the key,
// and not with another key of the operation.
func TestKeyRemoved(t *testing.T) {
	one, two := exchange.PublicKey{Key: [32]byte{1}}, exchange.PublicKey{Key: [32]byte{2}}
	withKeys := func(keys ...exchange.PublicKey) operation {
		o := holding("hold-web", "")
		o.Signed, o.Keys = true, keys
		var err error
		if o.secrets, err = fingerprintsOf(o.Operation); err != nil {
			t.Fatal(err)
		}
		return o
	}
	all := func(o operation) operations { return operations{byID: map[string]operation{"hold-web": o}} }
	was := withKeys(one, two)
	lease := was.keep(netip.MustParseAddr("192.0.2.1"), &two, keptAt).Kept
	for want, next := range map[string]operation{
		"":                               was,
		"no longer has the client's key": withKeys(one),
		"has a new secret":               holding("hold-web", ""),
	} {
		if reason := all(next).refuses(lease); (reason == "") != (want == "") || !strings.Contains(reason, want) {
			t.Errorf("want %q, got %q", want, reason)
		}
	}
	if reason := all(withKeys(two)).refuses(lease); reason != "" {
		t.Errorf("without the other key: %q", reason)
	}
	// Leases with an end do not have the key.
	if all(was).keepsOwnerless(all(withKeys(two))) || !all(was).keepsOwnerless(all(withKeys(two, one))) ||
		!all(withKeys(one)).keepsOwnerless(all(was)) {
		t.Error("leases that belong to no client outlive a key, or end without a reason")
	}
}
