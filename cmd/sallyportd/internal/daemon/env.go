package daemon

import (
	"log/slog"
	"os"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/cmd/sallyportd/internal/systemd"
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
	// ClientsCopy is the copy of the list of clients in etcd that the clients were read
	// from: see fleetlist.Start. nil: the clients are those of a file.
	ClientsCopy *fleetlist.Copy
	State       *state.Lock // of the state directory; New takes it over. nil: New locks the directory
	Release     string      // of Sallyport, for the other servers of a fleet
	// SelfTest is when the server tests itself; the zero value: never.
	SelfTest selftest.Pace
	// Sandbox is what is in force in this process; the zero value: nothing.
	Sandbox sandbox.Report
	// Manager gets that the server is ready and alive; the zero value: there is none.
	Manager systemd.Notifier
	// Stored are descriptors of the manager's store: New takes them over. See package moved.
	Stored []*os.File
	// LogDropped returns how many lines the log could not write, and LogLeftOut how many it
	// left out. nil: none.
	LogDropped, LogLeftOut func() uint64
	// LogTail returns the last lines of the log, for a bug report: see logsink.Tail. nil: it
	// keeps none.
	LogTail func() []string
}

func (e Env) setLogLevel(l slog.Level) {
	if e.LogLevel != nil {
		e.LogLevel.Set(l)
	}
}
