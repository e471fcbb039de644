package exchange_test

import (
	"fmt"
	"net/netip"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// A client asks for an operation, and answers the server's challenge. Request
// and response travel as the destination ports of empty packets, the challenge
// as one datagram.
func Example_client() {
	operation, err := exchange.NewOperation("ssh-alice", "correct horse battery staple", exchange.NATAware, false)
	if err != nil {
		panic(err)
	}
	self, public := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("203.0.113.9")
	server := netip.MustParseAddr("198.51.100.1")
	// Algorithm 2 uses no nonce of the client.
	client, err := exchange.NewInitiator(operation, self, server, [exchange.NonceSize]byte{})
	if err != nil {
		panic(err)
	}
	request := client.Request()
	codec, err := challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8}.Codec(len(request))
	if err != nil {
		panic(err)
	}
	ports, err := codec.AppendPorts(nil, request)
	if err != nil {
		panic(err)
	}
	fmt.Printf("request of %d bytes, to ports %d, %d, …, %d\n", len(request), ports[0], ports[1], ports[len(ports)-1])

	// The server draws a nonce and makes the challenge for the address that it
	// sees, which is that of the client's NAT.
	parsed, err := exchange.ParseRequest(operation, false, request)
	if err != nil {
		panic(err)
	}
	datagram, pending, err := parsed.Challenge(nil, public, server, [exchange.NonceSize]byte{1, 2, 3}, 0)
	if err != nil {
		panic(err)
	}

	answer, err := client.Answer(datagram)
	if err != nil {
		panic(err)
	}
	fmt.Println("this computer is", answer.Public)
	proof, ok := pending.Verify(answer.Response)
	fmt.Println("verified:", ok, proof.Operation().ID(), proof.Client())
	// Output:
	// request of 13 bytes, to ports 16499, 16755, …, 19463
	// this computer is 203.0.113.9
	// verified: true ssh-alice 203.0.113.9
}
