package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock/clocktest"
)

// TestAnswersAreSilentToOthers: without a firewall, the filter of the socket drops the
// SYNs of all addresses but that for which a challenge waits. A port that looks closed
// rejects them at other times.
func TestAnswersAreSilentToOthers(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	outside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "inner", Addresses: []string{"198.51.100.1/24", "2001:db8::1/64"}}, outside,
		netns.End{Name: "outer", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64", "2001:db8::3/64"}})
	// dial connects from an address, and returns what it gets.
	dial := func(from, to string, wait time.Duration) (got string, err error) {
		var c net.Conn
		err = outside.Do(func() error {
			d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			c, err = d.Dial("tcp", net.JoinHostPort(to, "30720"))
			return err
		})
		if err != nil {
			return "", err
		}
		defer c.Close()
		b := make([]byte, len("\x01\x09challenge")) // the server would wait for the end
		n, err := io.ReadFull(c, b)
		return string(b[:n]), err
	}
	refused := func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
	silent := func(err error) bool {
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	const moment = 200 * time.Millisecond
	for _, filtered := range []bool{false, true} {
		asClosed := refused
		if filtered {
			asClosed = silent
		}
		host := clocktest.NewHost()
		cfg := &config.Config{Challenge: &config.Challenge{Answers: &config.Answers{Port: 30720, Filtered: filtered}}}
		a := newAnswers(cfg, nil, Env{Clock: host.Clock(), Log: slog.New(slog.DiscardHandler)})
		a.bind()
		for _, family := range [][3]string{{"198.51.100.1", "198.51.100.2", "198.51.100.3"}, {"2001:db8::1", "2001:db8::2", "2001:db8::3"}} {
			server, client, stranger := family[0], family[1], family[2]
			if _, err := dial(client, server, moment); !asClosed(err) {
				t.Errorf("filtered=%t: before a challenge waits: %v", filtered, err)
			}
			if err := a.put(netip.AddrPortFrom(netip.MustParseAddr(client), 5), []byte("challenge")); err != nil {
				t.Fatal(err)
			}
			a.applyAt(a.clock.Boot())
			for range 2 {
				got, err := dial(client, server, time.Until(netns.Deadline(t)))
				if got != "\x01\x09challenge" || err != nil {
					t.Errorf("filtered=%t: the client got %q, %v", filtered, got, err)
				}
			}
			if _, err := dial(stranger, server, moment); !silent(err) {
				t.Errorf("filtered=%t: a stranger, while it waits: %v", filtered, err)
			}
			host.Pass(config.AnswerTime)
			a.applyAt(a.clock.Boot())
			for _, from := range []string{client, stranger} {
				if _, err := dial(from, server, moment); !asClosed(err) {
					t.Errorf("filtered=%t: afterwards, from %s: %v", filtered, from, err)
				}
			}
		}
		a.tcp.Close()
	}
}
