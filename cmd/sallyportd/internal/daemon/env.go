package daemon

import (
	"log/slog"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
)

// Env is what the server may touch of the world beside its files and the
// network.
type Env struct {
	Host  config.Host
	Clock clock.Clock
	Log   *slog.Logger
	// LogDropped returns how many lines the log has lost. nil: it loses none.
	LogDropped func() uint64
}
