package daemon

import (
	"context"
	"io"
	"net"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

// metricsPause is the time between two attempts to bind the address of the metrics.
const metricsPause = time.Second

// serveMetrics serves the metrics on the loopback, if the configuration has an address for
// that, until ctx ends. While another program has the port, it tries again.
func (s *Server) serveMetrics(ctx context.Context, write func(io.Writer) error) {
	now, _ := s.current()
	at := now.cfg.MetricsListen
	if !at.IsValid() {
		return
	}
	last := ""
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
		if err == nil {
			err = admin.ServeMetrics(ctx, l, write, s.env.Log)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != last {
			last = err.Error()
			s.env.Log.Warn("failed to serve the metrics; retrying", "listen", at, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(metricsPause):
		}
	}
}
