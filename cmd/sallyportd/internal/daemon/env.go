package daemon

import (
	"log/slog"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
)

// Env is what the server may touch of the world beside its files and the
// network.
type Env struct {
	Host  config.Host
	Clock clock.Clock
	Log   *slog.Logger
	State *state.Lock // of the state directory, which New takes over; nil: New takes it
	// LogDropped returns how many lines the log has lost. nil: it loses none.
	LogDropped func() uint64
}
