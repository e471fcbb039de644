package xdp

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
)

// TestOwnAddresses: whatever addresses a processor has found before, the program touches
// datagrams to those that are in force, and no others. The addresses share the places
// where a processor keeps them, or differ in the hardware address only.
func TestOwnAddresses(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	r := newRig(t, Sizes{})
	r.setTable(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	var pool []Address
	for _, ip := range []string{"192.0.2.1", "192.0.2.9", "192.0.3.1", "192.0.2.2", "2001:db8::1", "2001:db8::9", "2001:db8:1::1"} {
		pool = append(pool, Address{netip.MustParseAddr(ip), hostMAC}, Address{netip.MustParseAddr(ip), otherMAC})
	}
	rapid.Check(t, func(rt *rapid.T) {
		address := rapid.SampledFrom(pool)
		own := map[Address]bool{}
		set := func() {
			clear(own)
			all := rapid.SliceOfN(address, 0, 4).Draw(rt, "addresses")
			for _, a := range all {
				own[a] = true
			}
			if err := r.SetAddresses(all); err != nil {
				rt.Fatal(err)
			}
		}
		send := func() {
			a := address.Draw(rt, "to")
			f := knockTo(a.IP.Is6(), livePort, []byte("short"))
			f.to, f.target = a.MAC, netip.AddrPortFrom(a.IP, livePort)
			want := CountOther
			if own[a] {
				want = CountSize
			}
			if got := r.run(r.native, f.bytes()); got != want {
				rt.Fatalf("to %s at %x: counter %d, want %d", a.IP, a.MAC, got, want)
			}
		}
		set()
		rt.Repeat(map[string]func(*rapid.T){"set": func(*rapid.T) { set() }, "send": func(*rapid.T) { send() }, "send more": func(*rapid.T) { send() }})
	})
}
