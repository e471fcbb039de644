package daemon

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"sallyport/ingest/capture"
	"sallyport/sessions/handshakes"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestPacketsThatWait: a server that gets no processor for a while reads all packets of
// a request at once. With the scheme "delays", two packets with the same data are
// duplicates if they arrived within half a delay, but not if they waited together.
func TestPacketsThatWait(t *testing.T) {
	const delay = 20 * time.Millisecond
	encoding := challenge.Encoding{Scheme: challenge.Delays, Base: 20000, DataBits: 8, Delay: delay}
	response := encoding
	response.Base = 21000
	plan := challenge.Plan{Request: encoding, Response: response, Ports: challenge.Ports{First: 20000, Last: 22000}}
	o, err := exchange.NewOperation("open-ssh-1", "a secret that is long enough", exchange.NATAware, false) // "ss"
	if err != nil {
		t.Fatal(err)
	}
	protocol, err := exchange.NewOperations([]*exchange.Operation{o}, plan)
	if err != nil {
		t.Fatal(err)
	}
	client, server := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.1")
	initiator, err := exchange.NewInitiator(o, client, server, [exchange.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := encoding.Codec(o.RequestSize(false))
	if err != nil {
		t.Fatal(err)
	}
	ports, err := codec.AppendPorts(nil, initiator.Request())
	if err != nil {
		t.Fatal(err)
	}
	read := time.Unix(1_800_000_000, 0) // by the time of day
	for _, row := range []struct {
		name     string
		apart    time.Duration
		set      time.Duration // of the time of day, since the packets arrived
		answered int
	}{
		{"they arrived one after the other", delay, 0, 1},
		{"they arrived together", 0, 0, 0},
		{"the time of day was set back", delay, -time.Hour, 0},
	} {
		answered := 0
		c := &challenger{
			now:  func() time.Time { return time.Unix(1000, 0) },
			wall: func() time.Time { return read.Add(row.set) },
		}
		c.table, err = handshakes.New(handshakes.Config{
			Operations: protocol, Random: rand.Reader, OnProof: func(exchange.Proof, netip.Addr) {},
			Answer: func(_, _ netip.AddrPort, _ []byte) error {
				answered++
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var packets []capture.Packet
		for i, p := range ports {
			arrived := read.Add(-time.Duration(len(ports)-i) * row.apart)
			packets = append(packets, capture.Packet{
				Source: netip.AddrPortFrom(client, 4000), Destination: netip.AddrPortFrom(server, p), Arrived: arrived.UnixNano(),
			})
		}
		c.Take(packets)
		if answered != row.answered {
			t.Errorf("%s: %d answers, want %d", row.name, answered, row.answered)
		}
	}
}
