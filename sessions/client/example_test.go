package client_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// A client sends one sequence of knocks. Here a socket on the loopback stands
// for the server.
func ExampleKnock() {
	profile := client.Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 1, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
	}
	now := time.Unix(1_700_000_000, 0)
	ports, err := schedule.Ports(profile.Generator, profile.PortSecret, schedule.MinuteOf(now), profile.Ports)
	if err != nil {
		panic(err)
	}
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports[0])})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// Without a service to watch, Knock returns when the sequence has left.
	// The next nonce is on disk before that.
	result, err := client.Knock(context.Background(), client.Config{
		Profile: profile, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")},
		Now: func() time.Time { return now },
	})
	if err != nil {
		panic(err)
	}

	datagram := make([]byte, wire.Size+1)
	n, err := server.Read(datagram)
	if err != nil {
		panic(err)
	}
	knock, err := wire.Parse(datagram[:n])
	if err != nil {
		panic(err)
	}
	fmt.Println("attempts:", result.Attempts)
	fmt.Printf("knock %d of %s at port %d, nonce %d\n", knock.Sequence, knock.Identifier, ports[0], knock.Nonce)
	// Output:
	// attempts: 1
	// knock 0 of com1 at port 27015, nonce 0
}
