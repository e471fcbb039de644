package client

import (
	"net"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// TestConnectionsTo: the client counts its connections to a service that are in force,
// over both families, and no others.
func TestConnectionsTo(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := l.Addr().(*net.TCPAddr).AddrPort()
		if n := connectionsTo(at); n != 0 {
			t.Errorf("%s: %d connections", at, n)
		}
		for want := 1; want <= 3; want++ {
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if n := connectionsTo(at); n != want {
				t.Errorf("%s: %d connections, want %d", at, n, want)
			}
		}
	}
}

// FuzzCountConnections: no table makes the client fail, or count a line twice.
func FuzzCountConnections(f *testing.F) {
	line := "   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
	for _, text := range []string{
		"", "  sl  local_address rem_address   st\n", line, line + line, strings.Replace(line, " 01 ", " 0A ", 1),
		"0: x:y x:y 01\n", "0: 0: 00000000000000000000000001000000:0016 00000000000000000000000001000000:0016 01\n", "0: 1 0100007F:FFFFF 01\n",
	} {
		f.Add(text)
	}
	at := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	f.Fuzz(func(t *testing.T, text string) {
		if n := countConnections(strings.NewReader(text), at.AddrPort()); n > strings.Count(text, "\n")+1 {
			t.Fatalf("%d connections in %q", n, text)
		}
	})
}
