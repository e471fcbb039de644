package program

import (
	"os"
	"time"
)

// Role is what a program does for its service.
type Role string

// The roles.
const (
	// Server is the server of a service of type "process". It runs while the service
	// has leases.
	Server Role = "server"
	// OnOpen and OnClose run once for each lease, when it begins and ends.
	OnOpen  Role = "on_open"
	OnClose Role = "on_close"
)

// Key returns the key of a service in the configuration that has the program.
func (r Role) Key() string {
	if r == Server {
		return "program"
	}
	return string(r)
}

// UserKey returns the key of a service that has the program's user.
func (r Role) UserKey() string {
	if r == Server {
		return "program_user"
	}
	return "command_user"
}

// ID names a program of the configuration.
type ID struct {
	Service string
	Role    Role
}

// Program is a program of the configuration. It is immutable.
type Program struct {
	ID
	User      string        // to run as, by name or number
	Args      []string      // Args[0] is an absolute path
	Dir       string        // working directory, an absolute path
	Env       []string      // of the configuration, NAME=value
	StopAfter time.Duration // from SIGTERM to SIGKILL
	TimeLimit time.Duration // how long a command may run; 0: no limit
	Limits    Limits
	Inherits  bool // it gets a listening socket as descriptor 3
}

// Limits are the resource limits of a program, as in setrlimit(2). Zero: the limit
// of the process that starts it.
type Limits struct {
	Memory    uint64 // RLIMIT_AS, in bytes, of each process
	Files     uint64 // RLIMIT_NOFILE, of each process
	Processes uint64 // RLIMIT_NPROC, of all processes of the user
}

// Request asks for one run of a program.
type Request struct {
	Program ID
	Env     []string // what this run is about, NAME=value: see Environment
	// Listener is the listening socket of a program that inherits one; nil for
	// others. The Starter does not close it.
	Listener *os.File
}

// Starter starts programs of the configuration, and nothing else. It may be called
// concurrently.
type Starter interface {
	// Start starts a run. It returns at once: a program that cannot be executed is
	// a Run that ends with an error.
	Start(Request) (Run, error)
	// Gone returns a channel that is closed when the program can never be started
	// again, because the process that starts it has ended. The channel of a program
	// is always the same.
	Gone(ID) <-chan struct{}
}

// Run is a program that runs. Its methods may be called concurrently.
type Run interface {
	// Stop ends it: SIGTERM, then SIGKILL after StopAfter, to all its processes. It
	// returns at once, and may be called again.
	Stop()
	// Done is closed when no process of the run is left.
	Done() <-chan struct{}
	// Err returns, after Done, why the run did not end with exit code 0; nil: it did.
	Err() error
}
