package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// Status is what the server does now, without a client or an address. Totals are since its
// start, unless a comment has another time.
type Status struct {
	API     int       `json:"api"`     // Version
	Release string    `json:"release"` // of Sallyport
	PID     int       `json:"pid"`
	Config  string    `json:"config"` // the path of the configuration
	Started time.Time `json:"started"`
	// Uptime is since the start, in seconds, by a clock that is never set.
	Uptime float64 `json:"uptime_seconds"`
	Ready  bool    `json:"ready"` // a client that knocks now gets in
	// Reloading: a change is in progress. Clients and Config are then those before it.
	Reloading bool `json:"reloading,omitempty"`

	Clock    Clock             `json:"clock"`
	Ports    KnockPorts        `json:"knock_ports"`
	Tiers    []Tier            `json:"tiers"`
	Shield   *Shield           `json:"shield"` // null: the configuration has none; up to ten seconds old
	Clients  int               `json:"clients"`
	Services []Service         `json:"services"`
	Carriers map[string]string `json:"carriers_failed,omitempty"` // listeners for exchanges that are not bound, and why
	Refusals []Refusal         `json:"refusals"`                  // also those that are 0
	Queues   []Queue           `json:"queues"`
	Latency  Latency           `json:"knock_to_open"`
	State    StateFile         `json:"state_file"`
	Holder   *Holder           `json:"holder"` // the holder; null: the configuration requires none
	// Sandbox is what is in force in the server, in the capturer and in the holder, as each
	// has reported it. A process of an earlier release is missing.
	Sandbox []Sandbox `json:"sandbox"`
	// RunnersLost are the users whose process that starts their programs has ended: their
	// services stay closed until the server starts again.
	RunnersLost []string `json:"runners_lost,omitempty"`

	Fleet *Fleet  `json:"fleet"` // null: there is none
	Trial []Trial `json:"trial,omitempty"`
	// TrialUnknown is why it is not known whether something is on trial.
	TrialUnknown string            `json:"trial_unknown,omitempty"`
	SelfTest     *SelfTest         `json:"self_test"`  // null: it is off
	Goroutines   int               `json:"goroutines"` // of the process, for a bug report
	Counters     map[string]uint64 `json:"counters"`
}

// Sandbox is what is in force in a process, as the process itself knows it.
type Sandbox struct {
	Process    string        `json:"process"` // "server", "holder" or "capturer"
	NoNewPrivs bool          `json:"no_new_privs"`
	Seccomp    bool          `json:"seccomp"`         // it has a filter of system calls
	Landlock   int           `json:"landlock"`        // the version of the kernel's Landlock that restricts its files; 0: none does
	Files      *SandboxFiles `json:"files,omitempty"` // null: none, or they are not restricted
}

// SandboxFiles are the directories that a process may use.
type SandboxFiles struct {
	Read    []string `json:"read"`
	Write   []string `json:"write"`   // make, change and remove files
	Bind    []string `json:"bind"`    // make and remove sockets
	Connect []string `json:"connect"` // to sockets of other programs
}

// Clock is the wall clock of the server's host.
type Clock struct {
	Synchronised *bool  `json:"synchronised"` // null: the kernel cannot be asked
	By           string `json:"by,omitempty"` // how the kernel's clock is adjusted, in words
	// Programs are the time services of the host that may set the clock, by the names of
	// their processes; up to a minute old. null: the server cannot see them, as in a container.
	Programs []string `json:"programs"`
	// MaxError is the bound of the error that the kernel has from the time service, in
	// seconds, if it is synchronised.
	MaxError float64 `json:"max_error_seconds"`
	Steps    uint64  `json:"steps"` // by more than two seconds
	// LastStep is by how many seconds the last one moved the clock; negative: back; 0: none.
	LastStep float64 `json:"last_step_seconds"`
}

// KnockPorts are the ports for knocks of the minutes that are live, one at each address.
type KnockPorts struct {
	Open     int    `json:"open"`
	Failed   int    `json:"failed"`   // that should be open, and are not
	Failures uint64 `json:"failures"` // attempts that failed
}

// Tier is a place where datagrams are refused before the server reads them.
type Tier struct {
	Name  string `json:"name"`
	Level string `json:"level"` // "none", "shape" or "clients"
}

// Service is a service of the configuration.
type Service struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Leases      int               `json:"leases"` // also those that wait for a command
	Granted     uint64            `json:"granted"`
	Ended       map[string]uint64 `json:"ended"`       // leases, by the reason of their end
	Connections *int              `json:"connections"` // of clients now; null: the kernel carries them, or there are none
	Flows       *int              `json:"flows"`       // the same for UDP
	Unbound     uint64            `json:"bind_failures"`
	Waits       string            `json:"waits,omitempty"` // why it stays closed even for clients with a lease
}

// Refusal is a reason for which datagrams, knocks or others are refused.
type Refusal struct {
	Reason string  `json:"reason"` // the name of the counter
	Total  uint64  `json:"total"`
	Rate   float64 `json:"per_second"` // over the last minute
}

// Queue is how much waits for a part of the server.
type Queue struct {
	Name    string `json:"name"`
	Waiting int    `json:"waiting"`
	Room    int    `json:"room"` // for how much; 0: the number of clients bounds it
}

// Latency is a histogram of the time from the last knock of a sequence until the services
// are open.
type Latency struct {
	Bounds []float64 `json:"bounds_seconds"`
	Counts []uint64  `json:"counts"` // of each class, and of those above the last bound
	Sum    float64   `json:"sum_seconds"`
}

// StateFile is the record of used nonces.
type StateFile struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes"` // -1: unknown
	Writes   uint64 `json:"writes"`
	Failures uint64 `json:"failures"`
}

// Trial is a service on trial that is not confirmed: the one exception to "closed unless a
// client has a lease".
type Trial struct {
	Service string     `json:"service"` // or "stealth"
	Until   *time.Time `json:"until"`   // null: the trial is over, and anyone reaches the service
}

// SelfTest is the test that the server makes once a minute: it knocks at itself.
type SelfTest struct {
	// Result is that of the last test: "passed", "missed", "excused" (it opened nothing, and
	// a restart would not help), or "" before the first one has ended.
	Result string     `json:"result"`
	Reason string     `json:"reason,omitempty"` // why it opened nothing
	At     *time.Time `json:"at"`               // when it ended; null: none has
	Took   float64    `json:"took_seconds"`
	Missed int        `json:"missed_in_a_row"` // three stop the watchdog
}

// Holder is the holder of the firewall and the shield.
type Holder struct {
	Connected bool   `json:"connected"`
	Silent    bool   `json:"silent,omitempty"` // it does not answer: nothing opens, and leases stay
	Restarts  uint64 `json:"restarts"`         // holders after the first one
}

// Fleet is the record that several servers share.
type Fleet struct {
	Name      string `json:"name"` // of this gateway
	Available bool   `json:"available"`
	Error     string `json:"error,omitempty"` // of the last request, if it is not
	// List is the list of clients in etcd; null: the clients are those of a file.
	List *ClientList `json:"list"`
}

// ClientList is the list of clients that the gateways share.
type ClientList struct {
	Version uint64 `json:"version"`           // of the list in force; 0: none was read since the start
	Refused string `json:"refused,omitempty"` // why the list in etcd is not in force
}

// maxStatus bounds what a command reads of a status, in bytes: 64 services have some
// hundred each.
const maxStatus = 1 << 20

// ErrEarlier is the error of a request that a server of an earlier release does not know.
var ErrEarlier = errors.New("the running server is of an earlier release, which does not know this request")

// Status returns what the server does now.
func (c Conn) Status(ctx context.Context) (s Status, err error) {
	err = earlier(c.askJSON(ctx, http.MethodGet, prefix+"status", nil, maxStatus, &s))
	return s, err
}

// earlier returns ErrEarlier for the error of a request that the server does not know.
func earlier(err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return ErrEarlier
	}
	return err
}

// maxObservers is how many requests for the status and the metrics are answered at a
// time. Each takes some ten thousand bytes.
const maxObservers = 4

// serveStatus registers the requests of programs that observe the server.
func (h Handlers) serveStatus(mux *http.ServeMux) {
	observers := make(Observers, maxObservers)
	mux.Handle("GET /status", observers.Handler("application/json", func(w io.Writer) error { return json.NewEncoder(w).Encode(h.Status()) }))
	mux.Handle("GET /metrics", observers.Handler(MetricsType, h.Metrics))
}

// MetricsType is the format of the metrics, Prometheus text.
const MetricsType = "text/plain; version=0.0.4; charset=utf-8"

// Observers limits how many requests are answered at a time, by its capacity.
type Observers chan struct{}

// Handler answers with what write writes. While a slow reader reads an answer, others get
// theirs.
func (o Observers) Handler(contentType string, write func(io.Writer) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case o <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		var text bytes.Buffer
		err := write(&text)
		<-o
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Write(text.Bytes())
	})
}
