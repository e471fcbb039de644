package holder

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

var (
	epoch    = time.Unix(1_800_000_000, 0)
	web, ssh = access.ID("web"), access.ID("ssh")
)

func peer(a string) access.Peer { return access.PeerOf(netip.MustParseAddr(a), access.PrefixHost) }

func network(a string) access.Peer {
	return access.PeerOf(netip.MustParseAddr(a), access.PrefixNetwork)
}

var examples = []access.Change{
	{Service: web, Peer: peer("192.0.2.1"), Until: epoch.Add(10 * time.Second)},
	{Service: ssh, Peer: peer("2001:db8::1"), Until: epoch.Add(time.Millisecond)},
	{Service: ssh, Peer: network("2001:db8::1"), Until: epoch.Add(1000 * time.Hour)},
	{Service: web, Peer: access.Anyone4, Until: epoch.Add(time.Hour)},
	{Service: web, Peer: access.Anyone6, Until: epoch.Add(time.Hour)},
	{Service: web, Peer: peer("192.0.2.1")},
	{Service: ssh, Peer: peer("fe80::1"), Cut: true},
	{Service: ssh, Peer: numbered("192.0.2.1", 1<<31), Until: epoch.Add(time.Minute)},
	{Service: ssh, Peer: numbered("2001:db8::1", 1)},
	{Service: web, Peer: drawnPeer(peer("192.0.2.1"), 65535), Until: epoch.Add(time.Minute)},
	{Service: web, Peer: drawnPeer(network("2001:db8::1"), 1025), Cut: true},
}

// The places of the last fields of the first change in a request.
const (
	atEndOfAddress = 1 + 31
	atEndOfNumber  = 1 + 35
)

func drawnPeer(p access.Peer, port uint16) access.Peer {
	p.Port = port
	return p
}

func numbered(a string, n wire.ISN) access.Peer {
	p := peer(a)
	p.ISN = n
	return p
}

func encode(t testing.TB, changes ...access.Change) []byte {
	t.Helper()
	b, err := appendChanges(nil, changes, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequestsRoundTrip(t *testing.T) {
	got, err := parse(encode(t, examples...), epoch)
	if err != nil || got.kind != kindChanges || !reflect.DeepEqual(got.changes, examples) {
		t.Errorf("got %+v, %v", got, err)
	}
	b, err := appendPorts(nil, []uint16{1025, 65535}, 3*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := request{kind: kindKnockPorts, ports: []uint16{1025, 65535}, lasts: 3 * time.Minute}
	if got, err := parse(b, epoch); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	want = request{kind: kindBegin, version: Version, digest: Digest{7}}
	if got, err := parse(appendBegin(nil, Digest{7}), epoch); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	// Of another version, only the version is parsed.
	want = request{kind: kindBegin, version: Version + 1}
	got, err = parse([]byte{byte(kindBegin), Version + 1, 9, 9}, epoch)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	want = request{kind: kindShield, shield: shieldExample}
	if b, err := appendShield(nil, shieldExample); err != nil {
		t.Error(err)
	} else if got, err := parse(b, epoch); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := appendShield(nil, ShieldRequest{Listen: make([]netip.Addr, maxShieldAt+1)}); err == nil {
		t.Error("too many addresses were cut short")
	}
	want = request{kind: kindCommit, commit: true}
	if got, err := parse(appendCommit(nil, true), epoch); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := parse([]byte{byte(kindExit)}, epoch); err != nil || got.kind != kindExit {
		t.Errorf("got %+v, %v", got, err)
	}
	tooLong := []access.Change{{Peer: peer("192.0.2.1"), Until: epoch.Add(50 * 24 * time.Hour)}}
	if _, err := appendChanges(nil, tooLong, epoch); err == nil {
		t.Error("a time too long for the message was cut short")
	}
	// A lease that has ended is a revocation.
	over, err := parse(encode(t, access.Change{Service: web, Peer: peer("192.0.2.1"), Until: epoch.Add(-time.Hour)}), epoch)
	if err != nil || !over.changes[0].Revokes() {
		t.Errorf("what is over: %+v, %v", over, err)
	}
}

var shieldExample = ShieldRequest{
	Listen: []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.IPv4Unspecified(), netip.IPv6Unspecified(),
	}, Clients: 1 << 20,
}

func TestParseRefuses(t *testing.T) {
	good := encode(t, examples[0])
	broken := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	of := func(family byte, bits int, a string) []byte {
		c := broken(13, family)
		c[14] = byte(bits)
		address := netip.MustParseAddr(a).AsSlice()
		copy(c[17:], append(address, make([]byte, 16-len(address))...))
		return c
	}
	ports := func(n int) []byte {
		b, _ := appendPorts(nil, make([]uint16, n), time.Second)
		return b
	}
	withNumber := func(b []byte) []byte {
		b[atEndOfNumber] = 1
		return b
	}
	withPort := func(b []byte) []byte {
		b[atEndOfNumber+1] = 1
		return b
	}
	for _, b := range [][]byte{of(6, 128, "2001:db8::1"), withPort(of(6, 64, "2001:db8::"))} {
		if _, err := parse(b, epoch); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "no changes": good[:1], "half a change": good[:changeSize], "a byte too many": append(bytes.Clone(good), 0),
		"too many changes": append(good[:1:1], bytes.Repeat(good[1:], MaxChanges+1)...),
		"half a shield":    {byte(kindShield), 0, 0, 0, 0, 0, 0, 0}, "half an address": append([]byte{byte(kindShield)}, make([]byte, shieldHead+15)...),
		"a shield at no host":  append(append([]byte{byte(kindShield)}, make([]byte, shieldHead)...), bytes.Repeat([]byte{0xff}, 16)...),
		"a shield at too many": append([]byte{byte(kindShield)}, bytes.Repeat([]byte{1}, shieldHead+16*(maxShieldAt+1))...),
		"more than a query":    {byte(kindShieldState), 0},
		"no kind":              broken(0, 0), "a kind that is none": broken(0, byte(kindCommit)+1),
		"a family that is none": broken(13, 5), "an address of no family": broken(13, 0),
		"something behind the address": broken(atEndOfAddress, 1), "a mapped address": of(6, 128, "::ffff:192.0.2.1"),
		"bits that are no peer's": of(6, 56, "2001:db8::"), "an address and 64 bits": of(6, 64, "2001:db8::1"),
		"too many bits": of(4, 33, "192.0.2.1"), "a large part of IPv4": of(4, 15, "192.0.0.0"), "an address of a part of IPv4": of(4, 24, "192.0.2.1"), "part of link-local": of(6, 64, "fe80::"),
		"anyone, and an address": of(4, 0, "192.0.2.1"), "anyone, and a number": withNumber(of(4, 0, "0.0.0.0")),
		"anyone, and a port": withPort(of(4, 0, "0.0.0.0")), "a network, and a number": withNumber(of(6, 64, "2001:db8::")),
		"another flag": broken(15, 2), "what is open is cut": broken(15, 1), "a byte that is not zero": broken(16, 1),
		"no ports": ports(0), "half a port": append(ports(1), 0), "too many ports": ports(MaxChanges + 1),
		"an exit with more": {byte(kindExit), 0}, "another reading with more": {byte(kindReread), 0},
		"half a decision": {byte(kindCommit)}, "a decision that is none": {byte(kindCommit), 2}, "a decision with more": {byte(kindCommit), 1, 0},
		"a beginning of no version": {byte(kindBegin)}, "half a digest": appendBegin(nil, Digest{})[:20], "a beginning with more": append(appendBegin(nil, Digest{}), 0),
	} {
		if got, err := parse(b, epoch); err == nil {
			t.Errorf("%s: parsed as %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, examples...))
	for _, c := range examples {
		f.Add(encode(f, c))
	}
	ports, err := appendPorts(nil, []uint16{1025, 65535}, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ports)
	f.Add([]byte{byte(kindExit)})
	f.Add([]byte{byte(kindReread)})
	f.Add(appendCommit(nil, true))
	f.Add(appendBegin(nil, Digest{1, 2, 3}))
	f.Add([]byte{byte(kindBegin), Version + 1, 0})
	f.Add([]byte{byte(kindShieldState)})
	shield, err := appendShield(nil, shieldExample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shield)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b, epoch)
		if err != nil {
			return
		}
		again := []byte{byte(r.kind)}
		switch r.kind {
		case kindChanges, kindQuery, kindDisconnect:
			again, err = appendList(again, r.changes, epoch)
		case kindKnockPorts:
			again, err = appendPorts(nil, r.ports, r.lasts)
		case kindCommit:
			again = appendCommit(nil, r.commit)
		case kindBegin:
			if r.version != Version {
				return // the rest is another release's affair
			}
			again = appendBegin(nil, r.digest)
		case kindShield:
			again, err = appendShield(nil, r.shield)
		}
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
	})
}

func TestRepliesRoundTrip(t *testing.T) {
	one, two := errors.New("no room"), errors.New("no table")
	for name, errs := range map[string][]error{
		"all well": make([]error, 3), "one": {nil, one, nil}, "two alike": {one, nil, one}, "all": {one, two, one},
	} {
		got, err := parseReply(results(errs), len(errs))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, want := range errs {
			if got == nil && want == nil {
				continue
			}
			if (got[i] == nil) != (want == nil) || want != nil && !strings.HasSuffix(got[i].Error(), want.Error()) {
				t.Errorf("%s: change %d: got %v, want %v", name, i, got[i], want)
			}
		}
	}
	// The longest reply is bounded, and still reports each failed change.
	errs := make([]error, MaxChanges)
	for i := range errs {
		errs[i] = fmt.Errorf("%d: %s", i, strings.Repeat("x", 1000))
	}
	b := results(errs)
	got, err := parseReply(b, len(errs))
	if err != nil || len(b) > maxReply || len(got) != len(errs) {
		t.Fatalf("%d bytes, %d errors, %v", len(b), len(got), err)
	}
	for i, err := range got {
		if err == nil {
			t.Errorf("change %d has not failed", i)
		}
	}
	if _, err := parseReply(refusal(one), 3); !errors.Is(err, ErrRefused) {
		t.Errorf("a refusal: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "no kind": {0}, "done, and more": {byte(answerDone), 1}, "no count": {byte(answerFailed), 0},
		"none": {byte(answerFailed), 0, 0}, "more than were asked for": {byte(answerFailed), 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"a change that there is not": {byte(answerFailed), 0, 1, 0, 3, 0, 0, 1, 'x'}, "a reason that there is not": {byte(answerFailed), 0, 1, 0, 0, 1, 0, 1, 'x'},
		"half a reason": {byte(answerFailed), 0, 1, 0, 0, 0, 0, 2, 'x'}, "half a length": {byte(answerFailed), 0, 1, 0, 0, 0, 0, 1, 'x', 0},
	} {
		if _, err := parseReply(b, 3); !errors.Is(err, errReply) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBeginReply(t *testing.T) {
	own := Digest{1}
	for name, row := range map[string]struct {
		reply []byte
		want  error
	}{
		"ready":                 {[]byte{byte(answerReady), Version}, nil},
		"another version":       {[]byte{byte(answerVersion), Version + 1}, ErrOtherRelease},
		"ready by another one":  {[]byte{byte(answerReady), Version + 1}, errReply},
		"the first version":     {append([]byte{byte(answerReady)}, own[:]...), ErrOtherRelease},
		"another configuration": {append([]byte{byte(answerOtherConfiguration)}, make([]byte, len(own))...), ErrOtherConfiguration},
		"a refusal":             {refusal(errors.New("no")), ErrRefused},
		"nothing":               {nil, errReply},
		"done":                  {results(nil), errReply},
		"half a digest":         {[]byte{byte(answerOtherConfiguration), 1}, errReply},
	} {
		if err := parseBeginReply(row.reply, own); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOtherReleases: a server of another release gets the holder's version as
// the reply, and the firewall stays untouched.
func TestOtherReleases(t *testing.T) {
	claims := 0
	s := session{Config: Config{Digest: Digest{1}, Clock: clock.System(), Claim: func() (Firewall, error) {
		claims++
		return nil, errors.New("claimed")
	}}}
	for name, b := range map[string][]byte{
		"a later version": {byte(kindBegin), Version + 1, 1, 2, 3}, "an earlier one": {byte(kindBegin), Version - 1},
	} {
		reply, _, _ := s.handle(b)
		if err := parseBeginReply(reply, Digest{1}); !errors.Is(err, ErrOtherRelease) || claims != 0 {
			t.Errorf("%s: %v, claimed %d times", name, err, claims)
		}
	}
	if reply, _, _ := s.handle(appendBegin(nil, Digest{1})); claims != 1 || answer(reply[0]) != answerRefused {
		t.Errorf("of this release: %q, claimed %d times", reply, claims)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(results(make([]error, 3)))
	f.Add(results([]error{nil, errors.New("no room"), errors.New("no table")}))
	f.Add(refusal(errors.New("no")))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseBeginReply(b, Digest{})
		if errs, err := parseReply(b, 3); err == nil && errs != nil && len(errs) != 3 {
			t.Errorf("%d errors of 3 changes", len(errs))
		}
	})
}

func TestPolicy(t *testing.T) {
	p := Policy{
		Services: []Service{
			{ID: ssh, Name: "ssh", OpenMax: time.Minute, PrefixLen6: 128},
			{ID: web, Name: "web", OpenMax: time.Hour, Anyone: true, PrefixLen6: 64},
			{ID: access.ID("vpn"), Name: "vpn", OpenMax: time.Hour, PrefixLen6: 64},
			{ID: access.ID("isn"), Name: "isn", OpenMax: time.Hour, PrefixLen6: 128, PrefixLen4: 32, RequireISN: true},
			{ID: access.ID("moves"), Name: "moves", OpenMax: time.Hour, PrefixLen6: 64, Drawn: []access.Ports{{First: 10000, Last: 19999}, {First: 20001, Last: 20001}}},
		},
		Taken: []access.Ports{{First: 51820, Last: 51820}, {First: 60000, Last: 61000}},
	}
	p.Services = append(p.Services, Service{ID: access.ID("carrier"), Name: "carrier", OpenMax: time.Hour, PrefixLen6: 128, PrefixLen4: 20})
	p.Services = append(p.Services, Service{ID: access.ID("proves"), Name: "proves", OpenMax: time.Hour, PrefixLen6: 64, AnyAddress: true})
	part := func(bits int) access.Peer { return access.PeerIn(netip.MustParseAddr("192.0.2.1"), bits, 128) }
	if err := p.validate(); err != nil {
		t.Fatal(err)
	}
	knocker, soon := peer("192.0.2.1"), epoch.Add(time.Second)
	for _, row := range []struct {
		change access.Change
		want   string // of the refusal; empty: none
	}{
		{access.Change{Service: ssh, Until: epoch.Add(time.Minute), Peer: knocker}, ""},
		{access.Change{Service: ssh, Until: epoch.Add(time.Minute + 1), Peer: knocker}, "at most"},
		{access.Change{Service: ssh, Until: epoch, Peer: knocker}, "at most"},
		{access.Change{Service: ssh, Until: soon, Peer: numbered("192.0.2.1", 1)}, "sequence number: false"},
		{access.Change{Service: access.ID("isn"), Until: soon, Peer: numbered("192.0.2.1", 1)}, ""},
		{access.Change{Service: access.ID("isn"), Until: soon, Peer: numbered("2001:db8::1", 1<<31)}, ""},
		{access.Change{Service: access.ID("isn"), Until: soon, Peer: knocker}, "sequence number: true"},
		{access.Change{Service: access.ID("isn"), Until: soon, Peer: access.Anyone4}, "does not open the service isn"},
		{access.Change{Service: access.ID("isn"), Peer: knocker, Cut: true}, ""},
		{access.Change{Service: access.ID("mail"), Until: soon, Peer: knocker}, "no service"},
		{access.Change{Service: ssh, Until: soon, Peer: access.Anyone4}, "does not open the service ssh to 0.0.0.0/0"},
		{access.Change{Service: ssh, Until: soon, Peer: access.Anyone6}, "does not open the service ssh to ::/0"},
		{access.Change{Service: web, Until: epoch.Add(time.Hour), Peer: access.Anyone6}, ""},
		{access.Change{Service: web, Until: epoch.Add(time.Hour), Peer: knocker}, "does not open"},
		{access.Change{Service: ssh, Until: soon, Peer: peer("2001:db8::1")}, ""},
		{access.Change{Service: ssh, Until: soon, Peer: network("2001:db8::1")}, "and 128 of IPv6"},
		{access.Change{Service: access.ID("vpn"), Until: soon, Peer: network("2001:db8::1")}, ""},
		{access.Change{Service: access.ID("vpn"), Until: soon, Peer: peer("2001:db8::1")}, "and 64 of IPv6"},
		{access.Change{Service: access.ID("vpn"), Until: soon, Peer: peer("fe80::1")}, ""},
		{access.Change{Service: access.ID("vpn"), Until: soon, Peer: knocker}, ""},
		{access.Change{Service: ssh, Until: soon, Peer: part(24)}, "opens to 32 bits of an IPv4 address"},
		{access.Change{Service: access.ID("carrier"), Until: soon, Peer: part(20)}, ""},
		{access.Change{Service: access.ID("carrier"), Until: soon, Peer: peer("2001:db8::1")}, ""},
		{access.Change{Service: access.ID("carrier"), Until: soon, Peer: part(19)}, "opens to 20 bits of an IPv4 address"},
		{access.Change{Service: access.ID("carrier"), Until: soon, Peer: knocker}, "opens to 20 bits of an IPv4 address"},
		{access.Change{Service: access.ID("proves"), Until: soon, Peer: access.Anyone4}, ""},
		{access.Change{Service: access.ID("proves"), Until: soon, Peer: access.Anyone6}, ""},
		{access.Change{Service: access.ID("proves"), Until: soon, Peer: knocker}, ""},
		{access.Change{Service: access.ID("proves"), Until: soon, Peer: access.AnyAddress}, "opens to 32 bits"},
		{access.Change{Service: access.ID("proves"), Until: soon, Peer: peer("2001:db8::1")}, "and 64 of IPv6"},
		{access.Change{Service: access.ID("proves"), Until: epoch.Add(time.Hour + 1), Peer: access.Anyone4}, "at most"},
		{access.Change{Service: ssh, Until: soon, Peer: peer("::")}, "expected the address of a client"},
		{access.Change{Service: ssh, Until: soon, Peer: peer("224.0.0.1")}, "expected the address of a client"},
		{access.Change{Service: ssh, Peer: knocker}, ""},
		{access.Change{Service: ssh, Peer: access.Anyone4}, ""},
		{access.Change{Service: ssh, Peer: knocker, Cut: true}, ""},
		{access.Change{Service: access.ID("mail"), Peer: knocker, Cut: true}, "no service"},
		{access.Change{Service: ssh, Until: soon, Peer: drawnPeer(knocker, 10000)}, "fixed port"},
		{access.Change{Service: access.ID("isn"), Until: soon, Peer: drawnPeer(numbered("192.0.2.1", 1), 10000)}, "fixed port"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(knocker, 10000)}, ""},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(network("2001:db8::1"), 20001)}, ""},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(peer("2001:db8::1"), 20001)}, "and 64 of IPv6"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: knocker}, "may be drawn for it, got 0"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(knocker, 9999)}, "may be drawn"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(knocker, 20000)}, "may be drawn"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: drawnPeer(numbered("192.0.2.1", 1), 10000)}, "sequence number: false"},
		{access.Change{Service: access.ID("moves"), Until: soon, Peer: access.Anyone4}, "does not open"},
		{access.Change{Service: access.ID("moves"), Until: epoch.Add(time.Hour + 1), Peer: drawnPeer(knocker, 10000)}, "at most"},
		{access.Change{Service: access.ID("moves"), Peer: knocker}, ""},
	} {
		err := p.checkChange(row.change, epoch)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%+v: %v", row.change, err)
		}
	}
	for name, invalid := range map[string]Service{
		"anyone": {Anyone: true, Drawn: p.Services[4].Drawn}, "ISN": {RequireISN: true, Drawn: p.Services[4].Drawn},
		"an empty range": {Drawn: []access.Ports{{First: 2, Last: 1}}},
	} {
		invalid.Name, invalid.ID, invalid.PrefixLen6 = "x", access.ID("x"), 128
		if (Policy{Services: []Service{invalid}}).validate() == nil {
			t.Errorf("a service with drawn ports for %s is valid", name)
		}
	}
	// Only ports that are drawn for now may open, until their end.
	drawn := Schedule{Tolerance: 5 * time.Second, Ports: func(m schedule.Minute) ([][]uint16, error) {
		return [][]uint16{{uint16(2000 + m%6000), 1024, 51820, 60500}}, nil
	}}
	minute := schedule.MinuteOf(epoch)
	below := func(m schedule.Minute) ([][]uint16, error) {
		if m == minute {
			return nil, nil
		}
		return [][]uint16{{1023, 51820}}, nil
	}
	now := minute.Start().Add(30 * time.Second)
	of := func(m schedule.Minute) uint16 { return uint16(2000 + m%6000) }
	for name, row := range map[string]struct {
		port      uint16
		lasts     time.Duration
		now       time.Time
		schedules []Schedule
		may       bool
	}{
		"of this minute":                  {of(minute), 35 * time.Second, now, []Schedule{drawn}, true},
		"longer than it is drawn for":     {of(minute), 41 * time.Second, now, []Schedule{drawn}, false},
		"for no time":                     {of(minute), 0, now, []Schedule{drawn}, false},
		"for more than three minutes":     {of(minute), 3*time.Minute + 1, now, []Schedule{{Ports: drawn.Ports, Tolerance: time.Hour}}, false},
		"drawn for no minute":             {9999, time.Second, now, []Schedule{drawn}, false},
		"of the next minute":              {of(minute + 1), TraceTime + 1, now, []Schedule{drawn}, false},
		"of another minute, for a trace":  {of(minute + 10), TraceTime, now, []Schedule{drawn}, true},
		"of the time zone's, for a trace": {of(minute - 14*60), TraceTime, now, []Schedule{drawn}, true},
		"of no minute that is traced":     {of(minute + 15), time.Second, now, []Schedule{drawn}, false},
		"low, for a trace":                {1023, time.Second, now, []Schedule{{Ports: below}}, false},
		"a service's, for a trace":        {51820, time.Second, now, []Schedule{{Ports: below}}, false},
		"of the next minute, almost":      {of(minute + 1), time.Minute, now.Add(21 * time.Second), []Schedule{drawn}, true},
		"of the minute that is just over": {of(minute), time.Millisecond, now.Add(38 * time.Second), []Schedule{drawn}, true},
		"of a minute that is over":        {of(minute), TraceTime + 1, now.Add(42 * time.Second), []Schedule{drawn}, false},
		"of what was read again":          {of(minute), time.Second, now, []Schedule{{}, drawn}, true},
		"with the larger tolerance":       {of(minute), 60 * time.Second, now, []Schedule{drawn, {Ports: drawn.Ports, Tolerance: 30 * time.Second}}, true},
		"without a schedule":              {of(minute), time.Second, now, nil, false},
		"a low port, though drawn":        {1024, time.Second, now, []Schedule{drawn}, false},
		"a service's port, though drawn":  {51820, time.Second, now, []Schedule{drawn}, false},
		"one of a service's range":        {60500, time.Second, now, []Schedule{drawn}, false},
	} {
		if err := p.checkPorts([]uint16{row.port}, row.lasts, row.now, row.schedules...); (err == nil) != row.may {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.checkPorts([]uint16{of(minute), 9999}, time.Second, now, drawn); err == nil {
		t.Error("a port that is drawn brings another one with it")
	}
	for name, change := range map[string]func(*Policy){
		"a service twice": func(p *Policy) { p.Services = append(p.Services, p.Services[0]) },
		"56 bits":         func(p *Policy) { p.Services[0].PrefixLen6 = 56 },
		"15 bits":         func(p *Policy) { p.Services[0].PrefixLen4 = 15 },
		"an ISN": func(p *Policy) {
			p.Services[0].PrefixLen4, p.Services[0].PrefixLen6, p.Services[0].RequireISN = 24, 128, true
		},
		"another's name": func(p *Policy) { p.Services[0].ID = access.ID("mail") },
	} {
		wrong := Policy{Services: append([]Service(nil), p.Services...)}
		if change(&wrong); wrong.validate() == nil {
			t.Error(name)
		}
	}
}

func TestDigests(t *testing.T) {
	policy := func() Policy {
		return Policy{Services: []Service{{ID: ssh, Name: "ssh", OpenMax: time.Minute, PrefixLen6: 64}}, Taken: []access.Ports{{First: 53, Last: 53}}}
	}
	guarded := func() firewall.Config {
		return firewall.Config{Ports: []firewall.Port{{Service: ssh, Protocol: firewall.TCP, Port: 22}}, Except: []uint16{53}}
	}
	own := DigestOf(policy(), guarded())
	if again := DigestOf(policy(), guarded()); again != own {
		t.Error("one configuration has two digests")
	}
	// A reload changes the trusted peers: the holder reads them again.
	trusting := guarded()
	trusting.Trusted = map[access.ServiceID]firewall.Trusted{ssh: {Interfaces: []string{"docker0"}}}
	if DigestOf(policy(), trusting) != own {
		t.Error("trusted peers are a part of the digest")
	}
	silent := guarded()
	silent.Stealth, silent.Except, silent.Ports[0].Reject = true, nil, true
	if DigestOf(policy(), silent) != own {
		t.Error("stealth is a part of the digest")
	}
	seen := map[Digest]string{own: "as it was"}
	for name, change := range map[string]func(*Policy, *firewall.Config){
		"time": func(p *Policy, _ *firewall.Config) { p.Services[0].OpenMax++ }, "anyone": func(p *Policy, _ *firewall.Config) { p.Services[0].Anyone = true },
		"bits": func(p *Policy, _ *firewall.Config) { p.Services[0].PrefixLen6 = 128 }, "bits of IPv4": func(p *Policy, _ *firewall.Config) { p.Services[0].PrefixLen4 = 31 }, "taken": func(p *Policy, _ *firewall.Config) { p.Taken = nil },
		"port": func(_ *Policy, f *firewall.Config) { f.Ports[0].Port++ }, "address": func(_ *Policy, f *firewall.Config) { f.Ports[0].Address = netip.MustParseAddr("192.0.2.1") },
		"cut":      func(_ *Policy, f *firewall.Config) { f.Ports[0].Cut = true },
		"captured": func(_ *Policy, f *firewall.Config) { f.Captured[1] = 5000 },
		"range":    func(_ *Policy, f *firewall.Config) { f.Ports[0].Last = 23 },
		"list": func(_ *Policy, f *firewall.Config) {
			f.Ports[0].More = []firewall.At{{Ports: access.Ports{First: 80, Last: 80}}}
		},
	} {
		p, f := policy(), guarded()
		change(&p, &f)
		d := DigestOf(p, f)
		if before, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, before)
		}
		seen[d] = name
	}
}
