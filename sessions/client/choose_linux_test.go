package client

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// carriersOf returns the carriers of the requests among events.
func carriersOf(events []Event) (all []Carrier) {
	for _, e := range events {
		switch e := e.(type) {
		case Requested:
			all = append(all, e.Carrier)
		case Sent:
			all = append(all, "sequence")
		}
	}
	return all
}

// TestCarrierIsChosen: the network drops the packets, so the exchange goes by HTTPS, and
// the next one begins there.
func TestCarrierIsChosen(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "127.0.0.1:8080"
	cfg := carriedConfig(o, r.serve(alone))
	cfg.Challenge.Request, cfg.Challenge.Response = narrow, above
	cfg.Challenge.DNS = testZone // does not suit an operation for an address
	cfg.Remembered.Path = filepath.Join(t.TempDir(), "state", "carriers")
	cfg.Attempts, cfg.Timeout = 1, time.Second
	now := time.Unix(1_800_000_000, 0)
	cfg.Now = func() time.Time { return now }
	var events []Event
	cfg.Report = func(e Event) { events = append(events, e) }
	exchange := func(what string, want ...Carrier) {
		t.Helper()
		events = nil
		got, err := Exchange(t.Context(), cfg)
		if err != nil || got.Carrier != CarrierHTTPS {
			t.Fatalf("%s: %+v, %v", what, got, err)
		}
		if all := carriersOf(events); !slices.Equal(all, want) {
			t.Errorf("%s: requests by %q, want %q", what, all, want)
		}
	}
	exchange("new", CarrierPackets, CarrierHTTPS)
	info, err := os.Stat(cfg.Remembered.Path)
	text, _ := os.ReadFile(cfg.Remembered.Path)
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasSuffix(string(text), " 127.0.0.0/24 https 1800000000\n") || strings.Count(string(text), "\n") != 2 {
		t.Errorf("%v, %v, %q", info, err, text)
	}
	exchange("remembered", CarrierHTTPS)
	if err := os.WriteFile(cfg.Remembered.Path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	exchange("damaged", CarrierPackets, CarrierHTTPS)

	// Where packets arrive again, the line goes when they have worked.
	newTestServer(t, o, nil)
	now, cfg.Timeout = now.Add(carrierTime), time.Minute
	if got, err := Exchange(t.Context(), cfg); err != nil || got.Carrier != CarrierPackets {
		t.Errorf("%+v, %v", got, err)
	}
	if l := cfg.Remembered.read(); len(l) > 0 {
		t.Errorf("remembered %+v", l)
	}
}

// TestAllCarriersFail: the error is that of the way to which something has answered, with
// what the others have shown.
func TestAllCarriersFail(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	cfg := carriedConfig(o, r.serve(alone))
	cfg.Challenge.Request, cfg.Challenge.Response, cfg.Roots = narrow, above, nil
	cfg.Attempts, cfg.Timeout = 1, 100*time.Millisecond
	_, err := Exchange(t.Context(), cfg)
	var offline *OfflineError
	if !errors.As(err, &offline) || offline.Reason != ReasonCertificate || !slices.Contains(offline.Certain, "by packets: the client received no challenge") {
		t.Fatalf("%v: %+v", err, offline)
	}
	if !strings.Contains(offline.Hint(), "a firewall blocks UDP to ports") {
		t.Error(offline.Hint())
	}
}

// TestKnockFallsToHTTPS: the network drops the knocks.
func TestKnockFallsToHTTPS(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	r.opens = "127.0.0.1:8080"
	e := carriedConfig(o, r.serve(alone))
	e.Remembered.Path = filepath.Join(t.TempDir(), "carriers")
	cfg := raceConfig(t, "127.0.0.1")
	cfg.Profile.Service, cfg.Else, cfg.Keep, cfg.Timeout = ":8080", &e, true, time.Second
	cfg.Attempts = 1
	var events []Event
	cfg.Report = func(e Event) { events = append(events, e) }
	for _, want := range [][]Carrier{{"sequence", CarrierHTTPS}, {CarrierHTTPS}} {
		events = nil
		got, err := Knock(t.Context(), cfg)
		if err != nil || got.Carrier != CarrierHTTPS || got.Conn == nil {
			t.Fatalf("%+v, %v", got, err)
		}
		got.Conn.Close()
		if all := carriersOf(events); !slices.Equal(all, want) {
			t.Errorf("sent by %q, want %q", all, want)
		}
		r.opened[0].Close()
		clear(r.waiting)
	}
}

// TestServerWithoutAddress: this computer cannot resolve the name of the server. Neither the
// packets, which come first, nor that keeps it out of a tunnel.
func TestServerWithoutAddress(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, false)
	r := newResponders(t, o, carrier.HTTP, "127.0.0.1")
	cfg := carriedConfig(o, r.serve(alone))
	cfg.Challenge.Request, cfg.Challenge.Response, cfg.Challenge.Tunnel = narrow, above, true
	cfg.Server, cfg.Keep = "gate.invalid", true
	there, here := net.Pipe()
	defer there.Close()
	tunnel := &testTunnel{stream: pipeStream{here}}
	cfg.Tunnel = tunnel
	got, err := Exchange(t.Context(), cfg)
	if err != nil || got.Tunnel != tunnel.stream || len(r.proofs) != 1 {
		t.Fatalf("%+v, %v, %d proofs", got, err, len(r.proofs))
	}
	tunnel.way.Close()

	// Without the tunnel, the client must know where the service is.
	cfg.Challenge.Tunnel = false
	var resolving *ResolveError
	if _, err := Exchange(t.Context(), cfg); !errors.As(err, &resolving) || resolving.Host != cfg.Server {
		t.Errorf("without a tunnel: %v", err)
	}
	cfg.Challenge.Tunnel, tunnel.err, cfg.Attempts = true, errors.New("no tunnel here"), 1
	var offline *OfflineError
	_, err = Exchange(t.Context(), cfg)
	if !errors.As(err, &offline) {
		t.Fatal(err)
	}
	for _, want := range []string{"no tunnel here", cfg.Server} {
		if !strings.Contains(offline.Hint(), want) {
			t.Errorf("both fail, without %q: %s", want, offline.Hint())
		}
	}
}

func TestParseCarriers(t *testing.T) {
	t.Parallel()
	const ways = " 0123456789abcdef "
	good := "sallyport-carriers 2\ngate.example" + ways + "192.0.2.0/24 https 5\nother.example" + ways + "2001:db8::/64 dns 7\n"
	if all := parseCarriers(good); len(all) != 2 || string(formatCarriers(all)) != good {
		t.Errorf("%+v", all)
	}
	const header = "sallyport-carriers 2\n"
	for _, text := range []string{
		"", "x", "sallyport-carriers 1\ngate.example 192.0.2.0/24 https 5\n", header + "gate.example" + ways + "192.0.2.0/24 https 5",
		header + "gate.example" + ways + "192.0.2.1/24 https 5\n", header + "gate.example" + ways + "192.0.2.0/24 smoke 5\n",
		header + "-x" + ways + "192.0.2.0/24 https 5\n", header + "gate.example" + ways + "192.0.2.0/24 https x\n",
		header + "gate.example 0123 192.0.2.0/24 https 5\n", header + "gate.example x123456789abcdef 192.0.2.0/24 https 5\n",
	} {
		if all := parseCarriers(text); len(all) > 0 {
			t.Errorf("%q: %+v", text, all)
		}
	}
	f := CarrierFile{filepath.Join(t.TempDir(), "carriers")}
	for i := range maxCarrierLines + 2 {
		f.remember(carrierPlace{"gate" + strings.Repeat("x", i) + ".example", ways[1:17], "192.0.2.0/24"}, CarrierHTTPS, time.Unix(int64(i), 0))
	}
	if all := f.read(); len(all) != maxCarrierLines || all[0].at != maxCarrierLines+1 {
		t.Errorf("%d lines, the first %+v", len(all), all[0])
	}
}

// TestTunnelIsAdvised: the hints name the tunnel, if the profile has one and the client
// did not get in without it.
func TestTunnelIsAdvised(t *testing.T) {
	t.Parallel()
	cfg := ExchangeConfig{Challenge: Challenge{Operation: newOperation(t, exchange.Mutual, false)}}
	for _, tunnel := range []bool{false, true} {
		cfg.Challenge.Tunnel = tunnel
		e := exchangeFindings{challenged: 1, at: netip.MustParseAddrPort("192.0.2.1:22"), public: netip.MustParseAddr("198.51.100.1")}
		d := e.diagnose(cfg, CarrierHTTPS, false)
		hints := strings.Join(d.hints(), "\n")
		if strings.Contains(hints, "--carrier https") != tunnel || strings.Contains(hints, "helps; ask the administrator") == tunnel || !strings.Contains(hints, "sallyportd trace ") {
			t.Errorf("tunnel %t: %s", tunnel, hints)
		}
	}
}
