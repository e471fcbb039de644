package daemon

import (
	"context"
	"crypto/rand"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/ingest/capture"
	"sallyport/sessions/handshakes"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestLostRequestIsCounted: a request of which a packet was lost is counted within
// seconds, although no other packet arrives.
func TestLostRequestIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, err := exchange.NewOperation("ssh-alice", "secret", exchange.NATAware, false)
		if err != nil {
			t.Fatal(err)
		}
		plan := challenge.Plan{
			Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
			Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
			Ports:    challenge.Ports{First: 16384, Last: 30719},
		}
		all, err := exchange.NewOperations([]*exchange.Operation{o}, plan)
		if err != nil {
			t.Fatal(err)
		}
		c := &challenger{now: time.Now, wall: time.Now}
		c.table, err = handshakes.New(handshakes.Config{
			Operations: all, Random: rand.Reader, OnProof: func(exchange.Proof, netip.Addr) {},
			Answer: func(netip.AddrPort, netip.AddrPort, []byte) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		client, server := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.1")
		i, err := exchange.NewInitiator(o, client, server, [exchange.NonceSize]byte{})
		if err != nil {
			t.Fatal(err)
		}
		codec, err := plan.Request.Codec(len(i.Request()))
		if err != nil {
			t.Fatal(err)
		}
		ports, err := codec.AppendPorts(nil, i.Request())
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports[1:] {
			c.Take([]capture.Packet{{Source: netip.AddrPortFrom(client, 5000), Destination: netip.AddrPortFrom(server, port)}})
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.sweep(ctx); close(ended) }()
		time.Sleep(5 * time.Second)
		stop()
		<-ended
		if n := c.table.Stats()[handshakes.RequestIncomplete]; n != 1 {
			t.Errorf("%d", n)
		}
	})
}
