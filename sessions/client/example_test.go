package client_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/syserror"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
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

// A program knocks, and uses the connection that the service has accepted. On the
// loopback, the service is open anyway.
func ExampleKnock_keep() {
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer service.Close()
	go greet(service, "220 ready\r\n")
	profile := client.Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 3, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
		Service: service.Addr().String(),
	}
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := client.Knock(ctx, client.Config{
		Profile: profile, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")},
		Keep: true, Now: time.Now,
	})
	if err != nil {
		panic(err)
	}
	defer result.Conn.Close()
	greeting, err := bufio.NewReader(result.Conn).ReadString('\n')
	if err != nil {
		panic(err)
	}
	fmt.Printf("%q from %s\n", greeting, result.Address)
	// Output:
	// "220 ready\r\n" from 127.0.0.1
}

// greet accepts connections, and sends a text to each.
func greet(service net.Listener, text string) {
	for {
		c, err := service.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, text)
		c.Close()
	}
}

// A client cannot watch a UDP service, for example a VPN: it sends the knocks, and the
// caller starts the VPN. Without Attempts, it sends several sequences, since packets may
// be lost.
func ExampleKnock_udp() {
	profile := client.Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 1, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
		Service: ":51820/udp",
	}
	now, server := listen(profile)
	defer server.Close()
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	result, err := client.Knock(context.Background(), client.Config{
		Profile: profile, Attempts: 1, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")},
		Now: func() time.Time { return now },
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("service:", result.Service, "UDP:", result.UDP)
	fmt.Println("confirmed:", result.Watched)
	// Output:
	// service: 127.0.0.1:51820 UDP: true
	// confirmed: false
}

// With addresses of both families, the client needs no resolver. It knocks at all of
// them, and the service opens for both families where both work: a browser or ssh may use
// either.
func ExampleKnock_families() {
	profile := client.Profile{
		Server: "gate.example.org",
		Addresses: []netip.Addr{
			netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5"),
		},
		PortSecret: "portSecret", Ports: 3, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
		Service: ":443", OpenFor: time.Minute, Handshake: client.HandshakeGranted,
	}
	result, err := client.Knock(context.Background(), client.Config{
		Profile: profile, Nonces: client.NonceFile{Path: "/var/lib/app/com1.nonce"}, Now: time.Now,
	})
	var offline *client.OfflineError
	switch {
	case errors.As(err, &offline):
		fmt.Println(err)
		for _, hint := range offline.Hints {
			fmt.Println("hint:", hint)
		}
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	fmt.Println("open:", result.Service)
	for _, other := range result.Also {
		fmt.Println("also open:", other)
	}
}

// A client requests an operation by the challenge–response protocol, and reports the
// steps. This protocol has no nonce file.
func ExampleExchange() {
	operation, err := exchange.NewOperation("ssh-alice", "correct horse battery staple", exchange.NATAware, false)
	if err != nil {
		panic(err)
	}
	result, err := client.Exchange(context.Background(), client.ExchangeConfig{
		Server:    "gate.example.org",
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")},
		Challenge: client.Challenge{
			Operation: operation,
			Request:   challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
			Response:  challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
			Service:   ":22",
		},
		Random: rand.Reader,
		Report: func(e client.Event) {
			if answered, ok := e.(client.Answered); ok {
				fmt.Println("the server sees this computer as", answered.Public)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("open:", result.Service)
}

// Knock reserves nonces itself. A program that sends sequences by other means reserves
// them in the same way: no nonce is used twice, whatever happens to the device.
func ExampleNonceFile() {
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	first, err := client.DrawNonce() // for a device without a record
	if err != nil {
		panic(err)
	}
	nonces := client.NonceFile{Path: filepath.Join(dir, "com1.nonce"), Drawn: first}

	ctx := context.Background()
	const knocks = 3
	one, _, err := nonces.Reserve(ctx, "com1", knocks, time.Now())
	if err != nil {
		panic(err)
	}
	if err := nonces.Opened(ctx, one, knocks, true); err != nil { // the service has answered
		panic(err)
	}
	two, _, err := nonces.Reserve(ctx, "com1", knocks, time.Now())
	if err != nil {
		panic(err)
	}
	fmt.Println("the next sequence begins", two-one, "nonces later")
	// Output:
	// the next sequence begins 3 nonces later
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
		if !syserror.InUse.In(err) {
			panic(err)
		}
	}
}
