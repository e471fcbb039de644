package daemon

import (
	"log/slog"
	"os"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
)

// Env is the server's environment, apart from its files and the network.
type Env struct {
	Host  config.Host
	Clock clock.Clock
	Log   *slog.Logger
	// LogLevel gets the level of the configuration. nil: the level is fixed.
	LogLevel *slog.LevelVar
	// Capturer is the connection to the process that captures packets. nil: this process
	// captures them itself, if the configuration requires it.
	Capturer *os.File
	// Programs starts the programs of the configuration; nil: it has none. Run closes it.
	Programs Programs
	// Unguarded: the holder has the shield and no firewall, or has not been reached yet.
	Unguarded bool
	State     *state.Lock // of the state directory; New takes it over. nil: New locks the directory
	// LogDropped returns how many lines the log has dropped. nil: it drops none.
	LogDropped func() uint64
}

func (e Env) setLogLevel(l slog.Level) {
	if e.LogLevel != nil {
		e.LogLevel.Set(l)
	}
}
