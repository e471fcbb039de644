package xdp

import (
	"testing"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

var com1 = wire.Identifier([]byte("com1"))

// usual returns a rig whose live port accepts prefiltertest.Plain.
func usual(t testing.TB, sizes Sizes) (*rig, *Entry) {
	r := newRig(t, sizes)
	r.setTable(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	return r, r.setClients(com1)[com1]
}

// knock returns a frame with a knock that the usual rig accepts, after a change.
func knock(change func(k *wire.Knock)) []byte {
	return knockTo(false, livePort, prefiltertest.Plain(change)).bytes()
}

func TestNonce(t *testing.T) {
	const last, window = 1<<32 - 1, replay.Size
	r, e := usual(t, Sizes{})
	r.settings.Window = window
	ahead := uint32(0)
	for _, c := range []struct {
		name              string
		highest, previous uint32
		nonce             uint32
		want              int
	}{
		{"unknown", 0, 0, 0, CountRing},
		{"unknown, any", 0, 0, last, CountRing},
		{"unknown, the former one known", 0, 1000, 5_000_000, CountRing},
		{"the highest", 1000, 0, 1000, CountRing},
		{"the next", 1000, 0, 1001, CountRing},
		{"the lowest in the window", 1000, 0, 1000 - window + 1, CountRing},
		{"below the window", 1000, 0, 1000 - window, CountBelow},
		{"0", 1000, 0, 0, CountBelow},
		{"0, in the window", 10, 0, 0, CountRing},
		{"0, lowest in the window", window - 1, 0, 0, CountRing},
		{"0, just below", window, 0, 0, CountBelow},
		{"the last attempt", 1000, 0, 1000 + 1<<16, CountRing},
		{"far ahead", 1000, 0, 1000 + MaxAhead, CountRing},
		{"too far ahead", 1000, 0, 1000 + MaxAhead + 1, CountAhead},
		{"no wrap to the end", 10, 0, last, CountAhead},
		{"no wrap to the beginning", last, 0, 0, CountBelow},
		{"the last of all", last, 0, last, CountRing},
		{"the last of all, ahead", last - MaxAhead, 0, last, CountRing},
		{"the last of all, too far", last - MaxAhead - 1, 0, last, CountAhead},
		{"of the former secret", 1000, 3_000_000_000, 3_000_000_001, CountRing},
		{"of the former secret, lower", 3_000_000_000, 1000, 1001, CountRing},
		{"of the new secret", 3_000_000_000, 1000, 3_000_000_001, CountRing},
		{"between both", 3_000_000_000, 1000, 2_000_000_000, CountBelow},
		{"between both, the other order", 1000, 3_000_000_000, 2_000_000_000, CountAhead},
		{"below both", 3_000_000_000, 1000, 1000 - window, CountBelow},
		{"ahead of both", 1000, 2000, 4_000_000_000, CountAhead},
	} {
		e.Highest.Store(c.highest)
		e.Previous.Store(c.previous)
		frame := knock(func(k *wire.Knock) { k.Nonce = c.nonce })
		r.settings.Flags.Store(FlagRing | FlagClients | FlagNonces)
		if got := r.run(r.native, frame); got != c.want {
			t.Errorf("%s: counter %d, want %d", c.name, got, c.want)
		}
		if c.want == CountAhead {
			ahead++
		}
		if got := e.Ahead.Load(); got != ahead {
			t.Errorf("%s: %d counted as ahead, want %d", c.name, got, ahead)
		}
		r.settings.Flags.Store(FlagRing | FlagClients)
		if got := r.run(r.native, frame); got != CountRing {
			t.Errorf("%s, without the rule: counter %d, want %d", c.name, got, CountRing)
		}
	}
	// Without the list of clients, the rule applies to those that are known.
	e.Highest.Store(1000)
	r.settings.Flags.Store(FlagRing | FlagNonces)
	for id, want := range map[string]int{"com1": CountAhead, "com2": CountRing} {
		frame := knock(func(k *wire.Knock) { k.Nonce, k.Identifier = 1<<30, wire.Identifier([]byte(id)) })
		if got := r.run(r.native, frame); got != want {
			t.Errorf("%s, without the list: counter %d, want %d", id, got, want)
		}
	}
}
