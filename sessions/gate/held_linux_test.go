package gate

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/relay"
)

// TestEnforcersKeepTheirPorts: enforcers hold their ports from Prepare to
// Close, before, during and after a lease, repeatedly, and log no failure.
func TestEnforcersKeepTheirPorts(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	var failed counting
	log := slog.New(slog.NewTextHandler(&failed, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, filtered := range []bool{false, true} {
		tcp := NewTCP(TCPConfig{Listen: ":8080", Filtered: filtered, PrefixLen6: 128, PerAddress: 4, Handler: NewWeb(Content{Handler: Pages()}, log), Clock: clock.System(), Log: log})
		udp := NewUDP(UDPConfig{Listen: ":8080", Filtered: filtered, PrefixLen6: 128, Relay: relay.UDPConfig{Upstream: "127.0.0.1:9"}, Clock: clock.System(), Log: log})
		if err := errors.Join(tcp.Prepare(), udp.Prepare()); err != nil {
			t.Fatal(err)
		}
		held := func(when string) {
			t.Helper()
			for _, network := range []string{"tcp", "udp"} {
				var used *heldport.InUseError
				if err := Bindable(network, ":8080"); !errors.As(err, &used) {
					t.Errorf("filtered %t, %s: another server gets the port of %s: %v", filtered, when, network, err)
				}
			}
		}
		held("before")
		for range 3 {
			for _, until := range []time.Time{clock.System().Boot().Add(time.Hour), {}} {
				change := []access.Change{{Peer: access.Anyone4, Until: until}, {Peer: access.Anyone6, Until: until}}
				if err := errors.Join(append(tcp.Apply(change), udp.Apply(change)...)...); err != nil {
					t.Fatal(err)
				}
				c, err := net.DialTimeout("tcp", "127.0.0.1:8080", time.Second)
				if open := err == nil; open != !until.IsZero() && !filtered {
					t.Errorf("until %s: %v", until, err)
				}
				if until.IsZero() && !filtered && !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("closed: %v", err)
				}
				if err == nil {
					c.Close()
				}
				held("until " + until.String())
			}
		}
		tcp.Close()
		udp.Close()
		if err := errors.Join(Bindable("tcp", ":8080"), Bindable("udp", ":8080")); err != nil {
			t.Errorf("held by what is closed: %v", err)
		}
	}
	if failed > 0 {
		t.Errorf("%d bytes in the log", failed)
	}
}

// counting counts what is written to it.
type counting int

func (c *counting) Write(b []byte) (int, error) {
	*c += counting(len(b))
	return len(b), nil
}
