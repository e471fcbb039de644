package daemon

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions/client"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestDatagramsMoveTheirSamples: a real datagram for each result of the checks moves the
// sample of that result, and no other result. A result without a row fails.
func TestDatagramsMoveTheirSamples(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) {
		s.keys = "kernel_filter = false"
		s.list = append(s.list, clients.Client{Identifier: wire.Identifier([]byte("old1")), Secret: []byte("secret of old1"), Expires: s.now.Add(-time.Hour)})
	})
	sequence := func(id string, at time.Time, base uint32) []client.Packet {
		t.Helper()
		packets, err := client.Sequence(w.profile(id, server4), at, base)
		if err != nil {
			t.Fatal(err)
		}
		return packets
	}
	// A first attempt, so that the client's window is above the nonces from 0 on.
	const first = 1 << 20
	w.send(t, "198.51.100.2", server4, sequence("com1", w.clock.Now(), first))
	results := func() (all [verify.NumReasons]uint64) {
		return w.server.ingest.Stats().Reasons
	}
	w.until(t, "the first attempt", func() bool { return results()[verify.Authentic] == 3 })
	var nonce uint32 = first + 3
	text := metrics.New(w.server.status).Text
	for reason := range verify.NumReasons {
		nonce += 3
		p := sequence("com1", w.clock.Now(), nonce)[1]
		switch b := p.Datagram; verify.Reason(reason) {
		case verify.Authentic:
		case verify.Size:
			p.Datagram = b[:10]
		case verify.Magic:
			b[0] ^= 1
		case verify.Malformed:
			b[wire.OffsetIdentifier] = 7
		case verify.Maximum:
			b[wire.OffsetMaximum] = 5
		case verify.Sequence:
			p.Port = sequence("com1", w.clock.Now(), nonce)[0].Port
		case verify.Minute:
			binary.BigEndian.PutUint32(b[wire.OffsetTimestamp:], uint32(w.clock.Now().Add(-2*time.Minute).Unix()))
		case verify.ClockSkew: // stamped within the minute before, which is live
			p = sequence("com1", w.clock.Now().Add(-70*time.Second), nonce)[1]
		case verify.Identifier:
			copy(b[wire.OffsetIdentifier:], "none")
		case verify.Expired:
			p = sequence("old1", w.clock.Now(), nonce)[1]
		case verify.NonceUnderflow:
			binary.BigEndian.PutUint32(b[wire.OffsetNonce:], 0)
		case verify.BelowWindow:
			p = sequence("com1", w.clock.Now(), 0)[1]
		case verify.MAC:
			b[len(b)-1] ^= 1
		default:
			t.Errorf("no datagram for the result %s", verify.Reason(reason))
			continue
		}
		want := results()
		want[reason]++
		w.send(t, "198.51.100.3", server4, []client.Packet{p})
		w.until(t, verify.Reason(reason).String(), func() bool { return sum(results()) == sum(want) })
		if got := results(); got != want {
			t.Errorf("%s: %v, want %v", verify.Reason(reason), got, want)
		}
		var b bytes.Buffer
		if err := text(&b); err != nil {
			t.Fatal(err)
		}
		sample := fmt.Sprintf("\n%s{result=%q} %d\n", metrics.Checked, verify.Reason(reason), want[reason])
		if !bytes.Contains(b.Bytes(), []byte(sample)) {
			t.Errorf("%s: no sample%s", verify.Reason(reason), sample)
		}
	}
}

func sum(all [verify.NumReasons]uint64) (n uint64) {
	for _, one := range all {
		n += one
	}
	return n
}
