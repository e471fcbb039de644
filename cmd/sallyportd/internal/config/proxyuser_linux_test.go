package config

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestProxyUser: a connection on this host is the proxy's if its other end belongs to the
// user, whatever the families of the sockets; not if the other end is closed.
func TestProxyUser(t *testing.T) {
	t.Parallel()
	uid := os.Getuid()
	for _, listen := range []string{"127.0.0.1:0", "[::]:0"} {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		there, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		at := func(a net.Addr) netip.AddrPort {
			p := a.(*net.TCPAddr).AddrPort()
			return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		}
		owns := func(user int) bool {
			p, err := (&HTTP{ProxyUser: strconv.Itoa(user)}).Trusted()
			if err != nil {
				t.Fatal(err)
			}
			return p.Owns(at(here.LocalAddr()), at(here.RemoteAddr()))
		}
		if !owns(uid) || owns(uid+1) {
			t.Errorf("%s: of this user: %t, of another: %t", listen, owns(uid), owns(uid+1))
		}
		if there.Close(); owns(uid) {
			t.Errorf("%s: a closed connection", listen)
		}
	}
	_, err := (&HTTP{Listen: ":443", ProxyUser: "no such user"}).Trusted()
	if err == nil || !strings.Contains(err.Error(), `[[challenge.http]] at :443: proxy_user: no user of this host is "no such user"`) {
		t.Errorf("got %v", err)
	}
}
