package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestMetricsListener: the loopback has the metrics, nothing else, and only for requests
// that name this host.
func TestMetricsListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	write := func(w io.Writer) error { _, err := io.WriteString(w, "up 1\n"); return err }
	go func() { done <- ServeMetrics(ctx, l, write, slog.New(slog.DiscardHandler)) }()
	for _, row := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "/metrics", "", 200},
		{"HEAD", "/metrics", "", 200},
		{"GET", "/metrics", "localhost:9464", 200},
		{"GET", "/metrics", "[::1]:9464", 200},
		{"GET", "/metrics", "[::1]", 200},
		{"GET", "/metrics", "gate.example.org", 403},
		{"GET", "/metrics", "127.0.0.1.example.org:9464", 403},
		{"POST", "/metrics", "", 405},
		{"GET", "/v1/status", "", 404},
		{"GET", "/status", "", 404},
		{"POST", "/reload", "", 404},
		{"GET", "/", "", 404},
	} {
		request, err := http.NewRequestWithContext(t.Context(), row.method, "http://"+l.Addr().String()+row.path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = row.host
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatalf("%+v: %v", row, err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		has := string(body) == "up 1\n"
		if err != nil || response.StatusCode != row.status || has != (row.status == 200 && row.method == "GET") {
			t.Errorf("%+v: %s, %q, %v", row, response.Status, body, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMetricsHeldByOthers: users of the host who hold more connections than there may be keep
// no reader away. The oldest connections are closed.
func TestMetricsHeldByOthers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	write := func(w io.Writer) error { _, err := io.WriteString(w, "up 1\n"); return err }
	go func() { done <- ServeMetrics(ctx, l, write, slog.New(slog.DiscardHandler)) }()
	var first net.Conn
	for range 2 * maxMetricsConns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if first == nil {
			first = c
		}
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	client := http.Client{Timeout: metricsIdleTime / 2} // within which none of them ends by itself
	response, err := client.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "up 1\n" {
		t.Errorf("%q, %v", body, err)
	}
	response.Body.Close()
	io.Copy(io.Discard, first) // until it is closed, or reset
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
