package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/ingest"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// effective are the settings by which a server would run.
type effective struct {
	Path          string              `json:"path"`
	Ports         int                 `json:"ports"`
	Generator     string              `json:"generator"`
	Listen        []netip.Addr        `json:"listen"`                              // empty: all addresses
	PreviousUntil *time.Time          `json:"port_secret_previous_until,omitzero"` // while its ports are open too
	Tolerance     string              `json:"clock_tolerance"`
	Clock         *effectiveClock     `json:"clock"`
	Readers       int                 `json:"readers"`      // threads
	Queue         int                 `json:"queue"`        // datagrams of each thread
	QueueMemory   int                 `json:"queue_memory"` // of all threads, in bytes
	ClientsPath   string              `json:"clients"`      // the file, or the copy of the fleet's list
	FleetClients  bool                `json:"fleet_clients,omitempty"`
	Clients       int                 `json:"client_count"`
	StateDir      string              `json:"state_dir"`
	Durability    string              `json:"durability"`
	MetricsListen string              `json:"metrics_listen,omitempty"` // none: the metrics are at the admin socket only
	Services      []described         `json:"services"`
	Challenge     *effectiveChallenge `json:"challenge,omitempty"`
	Operations    []described         `json:"operations"`
	Firewall      *effectiveFirewall  `json:"firewall,omitempty"` // none: nothing requires it
	Shield        *effectiveShield    `json:"shield"`
	Processes     []sandbox.Process   `json:"processes,omitempty"` // of the running server; none: none runs, or they are not known

	processes effectiveProcesses
}

// described is a part of the configuration with a name, and what it does, in
// words.
type described struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Listen      []string `json:"listen,omitempty"` // of a service: its ports and ranges of ports
	Allow       []string `json:"allow,omitempty"`  // of a service: the peers that get in without a lease
	Bind        string   `json:"bind,omitempty"`   // of a service: "isn" or "connection"; none: the address
	Jump        string   `json:"jump,omitempty"`   // of a service: the operator's chain for its new connections
}

// effectiveChallenge is how the server receives the challenge protocol.
type effectiveChallenge struct {
	Ports      string `json:"ports,omitempty"` // none with capture "none"
	Shared     bool   `json:"shared_ports,omitempty"`
	Hop        uint16 `json:"hop,omitempty"` // from how many bases each minute draws
	Capture    string `json:"capture"`
	Transport  string `json:"transport,omitempty"`
	AnswerPort uint16 `json:"answer_port,omitempty"` // with transport "tcp"
	// How exchanges arrive over HTTP and DNS: a description of each listener.
	Carriers []string `json:"carriers,omitempty"`
}

// effectiveFirewall is the server's table of the firewall.
type effectiveFirewall struct {
	Table   string `json:"table"`
	Stealth bool   `json:"stealth"`
	OnExit  string `json:"on_exit"`
	Now     string `json:"now,omitempty"` // the table that exists now; empty: this process cannot read it
}

// effectiveSettings returns the settings of a configuration, without secrets.
func effectiveSettings(cfg *config.Config, clients int, host config.Host, now time.Time) effective {
	e := effective{
		Path: cfg.Path, Ports: cfg.Ports, Generator: fmt.Sprint(cfg.Generator), Listen: orEmpty([]netip.Addr(cfg.Listen)),
		Tolerance: cfg.Tolerance.String(), ClientsPath: cfg.ClientsPath, FleetClients: cfg.FleetClients, Clients: clients,
		StateDir: cfg.StateDir, Durability: "strict",
		Services: []described{}, Operations: []described{},
	}
	if cfg.PortSecret.Previous != "" && now.Before(cfg.PortSecret.Until) {
		until := cfg.PortSecret.Until.UTC()
		e.PreviousUntil = &until
	}
	e.Readers, e.Queue = readersOf(cfg), ingest.QueueSize(cfg.Queue)
	e.QueueMemory = e.Readers * ingest.QueueMemory(cfg.Queue)
	if cfg.Relaxed {
		e.Durability = "relaxed"
	}
	if at := cfg.MetricsListen; at.IsValid() {
		e.MetricsListen = at.String()
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		var listen []string
		if s.HasPort() {
			listen = strings.Split(s.Listen, ", ")
		}
		e.Services = append(e.Services, described{
			Name: s.Name, Description: strings.TrimPrefix(s.Describe(), s.Name+": "),
			Listen: listen, Allow: s.Trusted().Texts(), Bind: string(s.ProfileBind()), Jump: s.Jump(),
		})
	}
	if cfg.Challenge != nil {
		e.Challenge = &effectiveChallenge{
			Ports: fmt.Sprint(cfg.Challenge.Plan.Ports), Shared: cfg.Challenge.Plan.Shared, Hop: cfg.Challenge.Plan.Hop, Capture: "packet", Transport: "udp",
		}
		if cfg.Challenge.Sockets {
			e.Challenge.Capture = "sockets"
		}
		if a := cfg.Challenge.Answers; a != nil {
			e.Challenge.Transport, e.Challenge.AnswerPort = "tcp", a.Port
		}
		if cfg.Challenge.CarriersOnly {
			e.Challenge = &effectiveChallenge{Capture: "none", Hop: cfg.Challenge.Plan.Hop}
		}
		for i := range cfg.HTTP() {
			e.Challenge.Carriers = append(e.Challenge.Carriers, cfg.HTTP()[i].Describe())
		}
		if d := cfg.DNS(); d != nil {
			e.Challenge.Carriers = append(e.Challenge.Carriers, d.Describe())
		}
	}
	for _, o := range cfg.Operations {
		e.Operations = append(e.Operations, described{Name: o.ID, Description: strings.TrimPrefix(o.Describe(), o.ID+": ")})
	}
	if cfg.NeedsFirewall(host) != "" {
		e.Firewall = &effectiveFirewall{Table: "inet " + firewall.Name, Stealth: cfg.Stealth, OnExit: "closed"}
		if cfg.ClearOnExit {
			e.Firewall.OnExit = "clear"
		}
		if host.NetAdmin() {
			var err error
			if e.Firewall.Now, err = tableState(); err != nil {
				e.Firewall.Now = err.Error()
			}
		}
	}
	return e
}

// print prints the settings for people.
func (e effective) print(env cli.Env) error {
	var rows [][]output.Cell
	add := func(label, format string, args ...any) {
		rows = append(rows, []output.Cell{{Text: label, Colour: output.Bold}, {Text: fmt.Sprintf(format, args...)}})
	}
	listen := "all addresses"
	if len(e.Listen) > 0 {
		listen = strings.Trim(fmt.Sprint(e.Listen), "[]")
	}
	add("knocks", "%d to UDP ports that change every minute (%s), on %s", e.Ports, e.Generator, listen)
	if e.PreviousUntil != nil {
		add("", "and to the ports of the previous port secret until %s", env.Time(*e.PreviousUntil))
	}
	add("clocks", "a client's clock may be wrong by %s", e.Tolerance)
	if e.Clock != nil {
		add("", "this host's is %s", e.Clock.text)
	}
	add("queue", "%d datagrams for each of %s, in %.1f MiB of memory", e.Queue, count(e.Readers, "thread"), float64(e.QueueMemory)/(1<<20))
	where := e.ClientsPath
	if e.FleetClients {
		where = "the fleet's list; the copy of this gateway is " + where
	}
	add("clients", "%d, in %s", e.Clients, where)
	when := "before a service opens"
	if e.Durability == "relaxed" {
		when = "at most 100 ms after a service opens"
	}
	add("nonces", "on disk %s, in %s", when, e.StateDir)
	if e.MetricsListen != "" {
		add("metrics", "http://%s/metrics, for every program of this host", e.MetricsListen)
	}
	for _, s := range e.Services {
		add("service", "%s: %s", s.Name, s.Description)
	}
	if e.Challenge != nil {
		capture := map[string]string{"packet": "captured", "sockets": "bound"}[e.Challenge.Capture]
		if e.Challenge.Shared {
			capture = "shared, " + capture
		}
		if e.Challenge.Hop != 0 {
			capture += fmt.Sprintf(", at one of %d bases each minute", e.Challenge.Hop)
		}
		if e.Challenge.Capture == "none" {
			masked := ""
			if e.Challenge.Hop != 0 {
				masked = "; each minute has a mask of requests"
			}
			add("challenge", "no packets: exchanges only travel over HTTP and DNS%s", masked)
		} else {
			add("challenge", "requests and responses to %s ports %s, %s", strings.ToUpper(e.Challenge.Transport), e.Challenge.Ports, capture)
		}
		if e.Challenge.AnswerPort != 0 {
			add("", "and challenges at TCP port %d", e.Challenge.AnswerPort)
		}
		for _, c := range e.Challenge.Carriers {
			add("", "%s", c)
		}
	}
	for _, o := range e.Operations {
		add("operation", "%s: %s", o.Name, o.Description)
	}
	if e.Firewall != nil {
		stealth := ""
		if e.Firewall.Stealth {
			stealth = fmt.Sprintf(", and before all unsolicited UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
		}
		add("firewall", "table %s before every service%s", e.Firewall.Table, stealth)
		if e.Firewall.OnExit == "clear" {
			add("", "after a stop in order: the table is removed, and its services are open to anyone (on_exit = \"clear\")")
		} else {
			add("", "after a stop: the table stays, and its services stay closed (on_exit = \"closed\")")
		}
		if e.Firewall.Now != "" {
			add("", "now: %s", e.Firewall.Now)
		}
	}
	for i, line := range e.Shield.lines() {
		add(map[bool]string{true: "shield"}[i == 0], "%s", line)
	}
	if line := e.processes.line(); line != "" {
		add("processes", "%s", line)
	}
	return env.Out().Columns().Print(rows...)
}
