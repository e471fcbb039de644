package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Bounds of the metrics on the loopback, where every program of the host can connect.
const (
	maxMetricsConns   = 16
	metricsHeaderTime = 5 * time.Second
	metricsIdleTime   = 2 * time.Minute // a reader asks about once a minute, over one connection
	maxMetricsHeader  = 8 << 10
)

// ServeMetrics serves the metrics at a listener, and nothing else, until ctx ends.
func ServeMetrics(ctx context.Context, l net.Listener, write func(io.Writer) error, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", make(Observers, 1).Handler(MetricsType, write))
	server := &http.Server{
		Handler: forHost(mux), ReadHeaderTimeout: metricsHeaderTime, ReadTimeout: metricsHeaderTime, WriteTimeout: Timeout,
		IdleTimeout: metricsIdleTime, MaxHeaderBytes: maxMetricsHeader,
		ErrorLog: slog.NewLogLogger(reporter(func(err string) { log.Warn("failed to serve the metrics; retrying", "error", err) }), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(&newest{Listener: l, most: maxMetricsConns}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// forHost accepts requests that name this host by its address, or as localhost. A page of
// another site, whose name an attacker lets lead to the loopback, could otherwise make a
// browser on this host read the metrics.
func forHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && !strings.EqualFold(host, "localhost") {
			http.Error(w, "expected an address or localhost as the host", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
