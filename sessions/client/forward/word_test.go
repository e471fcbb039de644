package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/sessions/client"
)

func TestParseWord(t *testing.T) {
	address := netip.MustParseAddr
	for s, want := range map[string]Word{
		"5432":                    {LocalPort: 5432, Port: 5432},
		"5432/tcp":                {LocalPort: 5432, Port: 5432},
		"51820/udp":               {LocalPort: 51820, Port: 51820, UDP: true},
		"15432:5432":              {LocalPort: 15432, Port: 5432},
		"127.0.0.2:5432":          {Local: address("127.0.0.2"), LocalPort: 5432, Port: 5432},
		"127.0.0.2:15432:5432":    {Local: address("127.0.0.2"), LocalPort: 15432, Port: 5432},
		"localhost:8080:80":       {LocalPort: 8080, Port: 80},
		"localhost:80":            {LocalPort: 80, Port: 80},
		"[::1]:80":                {Local: address("::1"), LocalPort: 80, Port: 80},
		"[::1]:8080:80/udp":       {Local: address("::1"), LocalPort: 8080, Port: 80, UDP: true},
		"[::ffff:127.0.0.1]:8080": {Local: address("127.0.0.1"), LocalPort: 8080, Port: 8080},
		"[fe80::1%eth0]:80":       {Local: address("fe80::1%eth0"), LocalPort: 80, Port: 80},
		"0.0.0.0:80":              {Local: address("0.0.0.0"), LocalPort: 80, Port: 80},
		"8080:rotate":             {LocalPort: 8080, Rotates: true},
		"127.0.0.1:53:rotate/udp": {Local: address("127.0.0.1"), LocalPort: 53, Rotates: true, UDP: true},
		"8080:random":             {LocalPort: 8080, Random: true},
	} {
		if got, err := ParseWord(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                 "the port at the server: expected a number from 1 to 65535",
		"0":                "the port at the server: expected a number from 1 to 65535",
		"65536":            "the port at the server: expected a number from 1 to 65535",
		"-1":               "the port at the server: expected a number from 1 to 65535",
		"ssh":              "the port at the server: expected a number from 1 to 65535",
		"80/sctp":          "expected /udp or /tcp after the port",
		"80/udp/udp":       "expected /udp or /tcp after the port",
		"0:80":             "the local port: expected a number from 1 to 65535",
		"70000:80":         "the local port: expected a number from 1 to 65535",
		":80":              "the local port: expected a number from 1 to 65535",
		"80:":              "the port at the server: expected a number from 1 to 65535",
		"db.example:80":    "expected a local address or \"localhost\" in front",
		"db:8080:80":       "expected a local address or \"localhost\" in front",
		"127.0.0.1:x:80":   "expected a local port before the port",
		"80:80:80":         "expected a local address or \"localhost\" in front",
		"::1:80":           "expected PORT, LOCAL:PORT or ADDRESS:LOCALPORT:PORT",
		"[::1]80":          "expected an IPv6 address in brackets and a port",
		"[127.0.0.1]:80":   "expected an IPv6 address in brackets and a port",
		"[::1]:1:2:3":      "expected PORT, LOCAL:PORT or ADDRESS:LOCALPORT:PORT",
		"8080:host:80":     "expected a local port before the port",
		"1:2:3:4":          "expected PORT, LOCAL:PORT or ADDRESS:LOCALPORT:PORT",
		"rotate":           "expected a local port before \"rotate\", such as 8080:rotate",
		"127.0.0.1:random": "expected a local port before \"random\", such as 8080:random",
		"8080:random/udp":  "expected no /udp with a random port",
	} {
		w, err := ParseWord(s)
		if err == nil {
			t.Errorf("%q accepted as %+v", s, w)
		} else if !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("got %q", s)) {
			t.Errorf("%q: %v; want %q and what it got", s, err, want)
		}
	}
}

func FuzzParseWord(f *testing.F) {
	for _, s := range []string{"80", "8080:80/udp", "[::1]:8080:80", "127.0.0.1:80", "localhost:1:rotate", "1:random", "[fe80::1%a]:9:9", ":", "[", "]:", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseWord(s)
		if err != nil {
			return
		}
		again, err := ParseWord(w.String())
		if err != nil || again != w {
			t.Fatalf("%q is %+v, whose text %q is %+v, %v", s, w, w.String(), again, err)
		}
		if w.LocalPort == 0 || w.Port == 0 && w.Rotates == w.Random || len(w.Addresses()) == 0 {
			t.Fatalf("%q is %+v", s, w)
		}
		service, err := client.ParseService(w.Service())
		if !w.Random && (err != nil || service != client.Service{Port: w.Port, UDP: w.UDP, Rotates: w.Rotates}) {
			t.Fatalf("%q is the service %+v, %v", s, service, err)
		}
	})
}

func words(t *testing.T, list ...string) (words []Word) {
	t.Helper()
	for _, s := range list {
		w, err := ParseWord(s)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, w)
	}
	return words
}

func TestCheckWords(t *testing.T) {
	for list, ok := range map[string]bool{
		"80 443": true, "80 80/udp": true, "8080:80 80": true, "127.0.0.1:80 127.0.0.2:80": true, "127.0.0.1:80 [::1]:80": true,
		"80 80": false, "8080:80 8080:443": false, "80 127.0.0.1:80": false, "[::1]:80:22 80": false,
	} {
		if err := CheckWords(words(t, strings.Fields(list)...)); (err == nil) != ok {
			t.Errorf("%s: %v", list, err)
		}
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for _, s := range []string{"0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "0.0.0.0:1/udp"} {
		sockets, err := Listen(t.Context(), words(t, s)[0], false)
		var public *PublicError
		if !errors.As(err, &public) || len(sockets.Local) > 0 {
			t.Errorf("%s: %v, %v", s, sockets.Local, err)
		}
	}
	sockets, err := Listen(t.Context(), Word{Local: netip.IPv4Unspecified()}, true)
	if err != nil || len(sockets.Streams) != 1 {
		t.Errorf("with the permission: %v, %v", sockets, err)
	}
	sockets.Close()
}

// TestListenTaken: without one of both addresses, no socket remains.
func TestListenTaken(t *testing.T) {
	if !hasIPv6(context.Background()) {
		t.Skip("this host has no ::1")
	}
	taken, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).AddrPort().Port()
	if s, err := Listen(t.Context(), Word{LocalPort: port, Port: 1}, false); err == nil {
		s.Close()
		t.Fatal("another program would get the connections to ::1")
	}
	free, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("the other socket remains: %v", err)
	}
	free.Close()
}

func TestAssign(t *testing.T) {
	stream := func(name, at string) Socket {
		s := Socket{Name: name, Local: at, Stream: newListener()}
		s.Address, _ = netip.ParseAddrPort(at)
		return s
	}
	packet := func(name, at string) Socket {
		return Socket{Name: name, Local: at, Address: netip.MustParseAddrPort(at), Packet: newDatagrams()}
	}
	for _, c := range []struct {
		name    string
		words   string
		sockets []Socket
		want    []string // the local addresses of each word
		err     string
	}{
		{"by the port", "80 8443:443", []Socket{stream("", "127.0.0.1:8443"), stream("", "[::1]:80"), stream("", "127.0.0.1:80")},
			[]string{"[::1]:80 127.0.0.1:80", "127.0.0.1:8443"}, ""},
		{"by the name", "80 443", []Socket{stream("443", "/run/a"), stream("80", "127.0.0.1:443")}, []string{"127.0.0.1:443", "/run/a"}, ""},
		{"the only word", "5432", []Socket{stream("db.socket", "/run/db"), stream("db.socket", "127.0.0.1:9")}, []string{"/run/db 127.0.0.1:9"}, ""},
		{"by the protocol", "53 53/udp", []Socket{packet("x", "127.0.0.1:53"), stream("x", "127.0.0.1:1")}, []string{"127.0.0.1:1", "127.0.0.1:53"}, ""},
		{"the name of UDP", "53/udp 54/udp", []Socket{packet("54/udp", "127.0.0.1:1"), packet("53", "127.0.0.1:2")}, []string{"127.0.0.1:2", "127.0.0.1:1"}, ""},
		{"rotating", "8080:rotate 80", []Socket{stream("rotate", "/a"), stream("80", "/b")}, []string{"/a", "/b"}, ""},
		{"no word", "80 443", []Socket{stream("db", "127.0.0.1:5432")}, nil, "socket 127.0.0.1:5432 (\"db\") belongs to none of the ports: expected its local port, or FileDescriptorName= with a port at the server (80, 443)"},
		{"another protocol", "80", []Socket{packet("", "127.0.0.1:80")}, nil, "socket 127.0.0.1:80 belongs to none of the ports"},
		{"no socket", "80 443", []Socket{stream("", "127.0.0.1:80")}, nil, "no socket was passed for 443"},
		{"public", "80", []Socket{stream("", "0.0.0.0:80")}, nil, "0.0.0.0:80 is not an address of the loopback"},
	} {
		got, err := Assign(words(t, strings.Fields(c.words)...), c.sockets, false)
		var local []string
		for _, s := range got {
			local = append(local, strings.Join(s.Local, " "))
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) || !slices.Equal(local, c.want) {
			t.Errorf("%s: %q, %v; want %q, %q", c.name, local, err, c.want, c.err)
		}
	}
}
