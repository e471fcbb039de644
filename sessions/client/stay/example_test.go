package stay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/client/stay"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// A program keeps a service open until a context ends. Here a socket on the loopback
// receives the knocks, and there is no service that the client could watch.
func ExampleRun() {
	profile := client.Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 1, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"), OpenFor: time.Hour,
	}
	minute, server := listen(profile)
	defer server.Close()
	dir, err := os.MkdirTemp("", "sallyport-example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = stay.Run(ctx, stay.Config{
		Sequence: &client.Config{
			Profile: profile, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")}, Attempts: 1,
			Now: func() time.Time { return minute.Start() },
		},
		Report: func(e stay.Event) {
			switch e := e.(type) {
			case stay.Opened:
				fmt.Printf("%s: knocked at %s\n", e.Reason, e.Result.Address)
				cancel() // a real program goes on
			case stay.Failed:
				fmt.Printf("%s: %v; the next knock follows in %s\n", e.Reason, e.Err, e.Retry)
			}
		},
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// start: knocked at 127.0.0.1
	// true
}

// listen opens the port of the first minute whose port is free on this host.
func listen(p client.Profile) (schedule.Minute, *net.UDPConn) {
	for m := schedule.MinuteOf(time.Unix(1_800_000_000, 0)); ; m++ {
		ports, err := schedule.Ports(p.Generator, p.PortSecret, m, p.Ports)
		if err != nil {
			panic(err)
		}
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports[0])})
		if err == nil {
			return m, c
		}
	}
}
