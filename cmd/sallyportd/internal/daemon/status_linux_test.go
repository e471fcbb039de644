package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
)

// TestStatus: the status and the metrics follow a knock, a connection, a refusal, the end of
// a lease and a step of the clock.
func TestStatus(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.keys, s.web = "kernel_filter = false", "open_for = \"1m\"" })
	collector := metrics.New(w.server.status)
	text := func() string {
		var b bytes.Buffer
		if err := collector.Text(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	has := func(lines ...string) func() bool {
		return func() bool {
			got := text()
			for _, line := range lines {
				if !strings.Contains(got, "\n"+line+"\n") {
					return false
				}
			}
			return true
		}
	}
	st := w.server.status()
	if !st.Ready || st.API != admin.Version || st.Clients != 4 || st.Ports.Open == 0 || st.Ports.Failed != 0 || st.Holder != nil || st.Fleet != nil || st.Shield != nil ||
		filepath.Base(st.State.Path) != "nonces.db" || st.State.Bytes <= 0 || st.Uptime < 0 || st.Services[0].Type != "web" || st.Services[0].Leases != 0 {
		t.Errorf("before the knock: %+v", st)
	}
	packets, err := client.Sequence(w.profile("com1", server4), w.clock.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, "198.51.100.2", server4, packets)
	w.until(t, "the lease", has(
		`sallyport_datagrams_checked_total{result="authentic"} 3`, `sallyport_knocks_total{outcome="recorded"} 2`, `sallyport_knocks_total{outcome="opened"} 1`,
		`sallyport_grants_total{service="web"} 1`, `sallyport_leases{service="web"} 1`, `sallyport_knock_open_duration_seconds_count 1`,
	))
	if writes := w.server.status().State.Writes; writes < st.State.Writes+1 {
		t.Errorf("%d writes, and %d before the knock", writes, st.State.Writes)
	}
	var conn net.Conn
	if err := w.host.Do(func() (err error) {
		conn, err = net.Dial("tcp", net.JoinHostPort(server4, web))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the connection", has(`sallyport_connections{service="web"} 1`))
	conn.Close()
	w.until(t, "its end", has(`sallyport_connections{service="web"} 0`))
	for i := range packets {
		packets[i].Datagram[len(packets[i].Datagram)-1] ^= 1
	}
	w.send(t, "198.51.100.3", server4, packets)
	w.until(t, "the refusals", func() bool {
		for _, r := range w.server.status().Refusals {
			if r.Reason == "mac" && r.Total == 3 {
				return true
			}
		}
		return false
	})
	closed := w.server.closeLeases(admin.Closing{Which: admin.Which{Peer: netip.MustParsePrefix("198.51.100.2/32")}})
	if len(closed.Leases) != 1 || !has(`sallyport_leases{service="web"} 0`, `sallyport_leases_ended_total{reason="administrator",service="web"} 1`)() {
		t.Errorf("after the end: %+v\n%s", closed, text())
	}
	var refused uint64
	past := w.server.pastHour()
	for _, m := range past.Minutes {
		refused += m.Refused["mac"]
	}
	if refused != 3 || len(past.Ended) != 1 || past.Ended[0].Service != "web" || past.Ended[0].Client != "com1" || past.Ended[0].Reason != string(gate.ByAdministrator) ||
		past.Ended[0].Until.Before(past.Ended[0].Since) || past.Ended[0].Peer.Addr().String() != "198.51.100.2" {
		t.Errorf("the last hour: %+v", past)
	}
	w.clock.host.Step(time.Hour)
	w.until(t, "the step", has(`sallyport_clock_steps_total 1`))
	w.clock.host.Step(-time.Hour)
	w.until(t, "the step back", has(`sallyport_clock_steps_total 2`))
}

// TestMetricsPort: the metrics are at their port of the loopback, also if another program
// had it before, until the server ends.
func TestMetricsPort(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const at = "127.0.0.1:9464"
	var logged logText
	w := newWorld(t, func(s *setup) {
		s.keys, s.log = "metrics_listen = \""+at+"\"", slog.New(slog.NewTextHandler(&logged, nil))
	})
	other, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.server.serveMetrics(ctx, metrics.New(w.server.status).Text)
	}()
	read := func() string {
		c, err := net.Dial("tcp", at)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		io.WriteString(c, "GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
		text, _ := io.ReadAll(c)
		return string(text)
	}
	w.until(t, "the warning", func() bool { return strings.Contains(logged.String(), "failed to serve the metrics; retrying") })
	other.Close()
	w.until(t, "the metrics", func() bool { return strings.Contains(read(), "\nsallyport_ready 1\n") })
	stop()
	<-done
	if got := read(); strings.Contains(got, "sallyport_ready") {
		t.Errorf("after the end: %s", got)
	}
}
