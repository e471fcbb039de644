package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// A client sends one sequence of knocks. A socket on the loopback receives them.
func ExampleKnock() {
	profile := client.Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 1, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
	}
	now, server := listen(profile)
	defer server.Close()
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// Without a service to watch, Knock only sends. The next nonce is on disk before
	// that.
	result, err := client.Knock(context.Background(), client.Config{
		Profile: profile, Attempts: 1, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")},
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
	fmt.Printf("knock %d of %s, nonce %d\n", knock.Sequence, knock.Identifier, knock.Nonce)
	// Output:
	// attempts: 1
	// knock 0 of com1, nonce 0
}

// listen opens the first port of a minute, and returns a time in that minute.
// It takes the first minute whose port is free on this host.
func listen(p client.Profile) (time.Time, *net.UDPConn) {
	for now := time.Unix(1_700_000_000, 0); ; now = now.Add(time.Minute) {
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(now), p.Ports)
		if err != nil {
			panic(err)
		}
		server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports[0])})
		if err == nil {
			return now, server
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			panic(err)
		}
	}
}
