package client

import (
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockfilter"
)

// TestOpenBefore: an answer to the SYN that the client sent before the knock shows
// that the service was open. A dropped SYN does not. In this network, no other program uses the port.
func TestOpenBefore(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	listen := func(t *testing.T, control func(string, string, syscall.RawConn) error) net.Listener {
		t.Helper()
		lc := net.ListenConfig{Control: control}
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	knock := func(t *testing.T, change func(*Config)) Result {
		t.Helper()
		p := profile()
		p.Service = "127.0.0.1:8080"
		cfg := Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute,
			CheckBefore: true, Now: time.Now, Report: func(Event) {},
		}
		change(&cfg)
		r, err := Knock(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if r.Conn != nil {
			r.Conn.Close()
		}
		return r
	}
	t.Run("open", func(t *testing.T) {
		listen(t, nil)
		// On a busy machine, the answer may come too late to count.
		netns.Until(t, "an answer to the first SYN", func() bool { return knock(t, func(*Config) {}).OpenBefore })
		for name, change := range map[string]func(*Config){
			"not asked": func(c *Config) { c.CheckBefore = false },
			"keep":      func(c *Config) { c.CheckBefore, c.Keep = false, true },
		} {
			if r := knock(t, change); r.OpenBefore {
				t.Errorf("%s: open before", name)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		r := knock(t, func(c *Config) {
			c.Report = func(e Event) {
				if _, ok := e.(Sent); ok {
					listen(t, nil)
				}
			}
		})
		if r.OpenBefore {
			t.Error("open before")
		}
	})
	t.Run("dropped", func(t *testing.T) {
		l := listen(t, sockfilter.DenyAll)
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		r := knock(t, func(c *Config) {
			c.Report = func(e Event) {
				if _, ok := e.(Sent); !ok {
					return
				}
				if _, err := sockfilter.Attach(raw, sockfilter.Set{Anyone: true}); err != nil {
					t.Error(err)
				}
			}
		})
		if r.OpenBefore {
			t.Error("open before")
		}
	})
	// A half-open connection does not show what the program behind the port does with
	// connections.
	t.Run("closed at once", func(t *testing.T) {
		l := listen(t, nil)
		netns.Until(t, "an answer to the first SYN", func() bool { return knock(t, func(*Config) {}).OpenBefore })
		if err := l.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Error("the client made a whole connection")
		}
	})
}

// TestEarlyConnExpires: the client closes a connection without an answer before the
// kernel sends the SYN again.
func TestEarlyConnExpires(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	service := netip.MustParseAddrPort("127.0.0.1:8080")
	c := beginEarly(service)
	if c == nil {
		t.Fatal("no connection began")
	}
	defer c.close()
	netns.Until(t, "the end of the connection", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.fd < 0
	})
	if got := c.answer(); got != beforeSilent {
		t.Errorf("got %d", got)
	}
	if got := (*earlyConn)(nil).answer(); got != beforeUnknown {
		t.Errorf("a connection that did not begin: %d", got)
	}
}
