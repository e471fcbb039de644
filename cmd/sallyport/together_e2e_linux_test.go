package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// echoEOF is an upstream that answers with all that it has received, after the
// client's end of file.
func echoEOF(t *testing.T) string {
	t.Helper()
	return echoEOFAt(t, "127.0.0.1:0")
}

// echoEOFAt is echoEOF at an address.
func echoEOFAt(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if said, err := io.ReadAll(c); err == nil {
					c.Write(said)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestRandomPortsTogether: ten exchanges at once from one address each get a
// random port, over a link with a round trip of 100 ms. Each port leads its
// connection to the service, for an operation of a client and for one of none.
func TestRandomPortsTogether(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	far := netns.NewHost(t)
	netns.ConnectDelayed(t, netns.End{Name: "tofar", Addresses: []string{"192.0.2.1/24"}}, far,
		netns.End{Name: "far", Addresses: []string{"192.0.2.2/24"}}, 50*time.Millisecond)
	n.configure(`[[service]]
name = "echo"
type = "proxy"
listen = ":8080"
upstream = "` + echoEOF(t) + `"
open_for = "20s"
[challenge]
` + n.operation("of-com1", "service = \"echo\"\nport = \"random\"\nclient = \"com1\"") +
		n.operation("of-none", "service = \"echo\"\nport = \"random\""))
	client := []byte("com1 0123456789abcdef0123456789abcdef 0\n")
	if err := os.WriteFile(n.path("gate/clients.txt"), client, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"of-com1", "of-none"} {
		n.run(nil, n.path("sallyportd"), "operation", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--server", "192.0.2.1", "--out", n.path(id+".toml"))
	}
	n.serve()
	for _, id := range []string{"of-com1", "of-none"} {
		t.Run(id, func(t *testing.T) {
			var running sync.WaitGroup
			for i := range 10 {
				running.Go(func() {
					said := fmt.Sprintf("line %d of %s", i, id)
					start := time.Now()
					out, err := n.try(far, "sh", "-c", fmt.Sprintf("echo %s | %s connect %s", said, n.path("sallyport"), n.path(id+".toml")))
					t.Logf("%d: %.1f s", i, time.Since(start).Seconds())
					if err != nil || strings.TrimSpace(out) != said {
						t.Errorf("%d: %v, %q", i, err, out)
					}
				})
			}
			running.Wait()
		})
	}
	if t.Failed() {
		t.Log(n.log())
	}
}
