package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/heldport"
	"sallyport/sessions/gate/relay"
)

// TestPortsAreHeldFromTheStart: of closed services of both kinds; a start beside
// another program fails, and the error names that program.
func TestPortsAreHeldFromTheStart(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	for _, filtered := range []bool{false, true} {
		server := func() (*Server, func()) {
			tcp := gate.NewTCP(gate.TCPConfig{Listen: ":8080", Filtered: filtered, PrefixLen6: 128, PerAddress: 1, Handler: gate.NewWeb(gate.Content{Handler: gate.Pages()}, log), Clock: clock.System(), Log: log})
			udp := gate.NewUDP(gate.UDPConfig{Listen: ":8080", Filtered: filtered, PrefixLen6: 128, Relay: relay.UDPConfig{Upstream: "127.0.0.1:9"}, Clock: clock.System(), Log: log})
			return &Server{env: Env{Log: log}, services: []service{{"web", config.Live{Prepare: tcp.Prepare}}, {"vpn", config.Live{Prepare: udp.Prepare}}}}, func() {
				tcp.Close()
				udp.Close()
			}
		}
		first, end := server()
		if err := first.holdPorts(); err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			var used *heldport.InUseError
			if err := gate.Bindable(network, "127.0.0.1:8080"); !errors.As(err, &used) {
				t.Errorf("filtered %t: another program gets the port of %s: %v", filtered, network, err)
			}
		}
		second, endSecond := server()
		err := second.holdPorts()
		var hinted interface{ Hint() string }
		if err == nil || !errors.As(err, &hinted) || hint.Cause(err) == nil {
			t.Fatalf("a second server: %v", err)
		}
		for _, want := range []string{"service web cannot listen", "service vpn cannot listen", fmt.Sprintf("process %d", os.Getpid())} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
		endSecond()
		end()
		if err := second.holdPorts(); err == nil {
			// The enforcers are closed for good: nothing is held by them.
			if err := gate.Bindable("tcp", ":8080"); err != nil {
				t.Errorf("held by what is closed: %v", err)
			}
		}
	}
}
