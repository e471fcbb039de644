package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sallyport/bench/report"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
)

const (
	hundred = 100
	million = scenario.MaxClients
	// sinkPort is a port that no schedule draws.
	sinkPort = 1024
	// sinkBuffer is the server's default receive_buffer.
	sinkBuffer = 1 << 20
)

// The names of the targets in results.
const (
	shipped       = "shipped"         // a hundred clients, the kernel's filter on
	unfiltered    = "no-filter"       // the same without the filter
	manyClients   = "million-clients" // 1,048,576 of them
	three         = "three-knocks"    // sequences of three, filter on
	threeOpen     = "three-knocks-no-filter"
	twoReaders    = "two-readers" // on the one core
	strict        = "strict"      // nonces are on disk before a grant
	bareSink      = "sink"        // bare recvmmsg
	refuseAllSink = "reject-all"  // a socket filter that is one return

	shielded        = "shield"                 // a hundred clients, the shield on
	sharesOff       = "shield-no-shares"       // the same without shares
	shieldedMillion = "shield-million-clients" // the shield with 1,048,576 clients
	shieldedNAT     = "shield-nat"             // on a host that translates addresses
	ringSink        = "ring-sink"              // reads the shield's rings, and nothing else
	dropAllSink     = "drop-all"               // a program at the driver that drops all datagrams to the port
)

// sinks are the bare references.
var sinks = map[string]target.SinkMode{
	bareSink: target.Receive, refuseAllSink: target.RejectAll, dropAllSink: target.DropAll, ringSink: target.ReadRing,
}

// configuration returns that of a server, for the report; "" for a reference.
func configuration(name string) string {
	switch {
	case sinks[name] != "":
		return ""
	case shieldTargets[name]:
		return report.XDP
	case name == unfiltered || name == threeOpen:
		return report.Socket
	default:
		return report.Filter
	}
}

// tested is a target, and its data over the run.
type tested struct {
	name    string
	server  *target.Server // nil: sink is set
	running bool           // the server
	sink    *target.Sink
	traffic *traffic // for the server
	memory  report.Series
}

func (t *tested) process() *target.Process {
	if t.server != nil {
		return t.server.Process
	}
	return t.sink.Process
}

// configs are the servers under test.
var configs = map[string]target.ServerConfig{
	shipped:     {Ports: 1, Clients: hundred},
	unfiltered:  {Ports: 1, Clients: hundred, Unfiltered: true},
	manyClients: {Ports: 1, Clients: million},
	three:       {Ports: 3, Clients: hundred},
	threeOpen:   {Ports: 3, Clients: hundred, Unfiltered: true},
	twoReaders:  {Ports: 1, Clients: hundred, Readers: 2},
	strict:      {Ports: 1, Clients: hundred, Strict: true},

	shielded:        {Ports: 1, Clients: hundred, Shield: true},
	sharesOff:       {Ports: 1, Clients: hundred, Shield: true, NoShares: true},
	shieldedMillion: {Ports: 1, Clients: million, Shield: true},
	shieldedNAT:     {Ports: 1, Clients: hundred, Shield: true},
}

// startServers starts the servers with these names, which run until the end.
func (r *benchRun) startServers(ctx context.Context, names ...string) error {
	for _, name := range names {
		if _, err := r.startServer(ctx, name, name); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts a server in a new directory.
func (r *benchRun) startServer(ctx context.Context, name, dir string) (*tested, error) {
	cfg := configs[name]
	cfg.Binary, cfg.Dir = r.cfg.Server, filepath.Join(r.dir, dir)
	cfg.Address, cfg.Web, cfg.Core = serverAddress.String(), firstWeb+r.started, r.network.serverCore
	r.started++
	if cfg.Shield {
		cfg.Device = r.network.device
	}
	for _, t := range r.targets {
		if t.server != nil && t.running {
			cfg.Beside = append(cfg.Beside, t.server)
		}
	}
	s, err := target.StartServer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start the server %q: %w", name, err)
	}
	t := r.targets[name]
	if t == nil {
		t = &tested{name: name, memory: report.Series{Target: name}}
		r.targets[name] = t
	}
	t.server, t.traffic, t.running = s, trafficFor(s, r.network.link), true
	return t, nil
}

// firstWeb is the port of the first server's web service.
const firstWeb = 8000

// startSink starts a bare receiver for one window: only one at a time can bind
// the port.
func (r *benchRun) startSink(ctx context.Context, name string) (*tested, error) {
	cfg := target.SinkConfig{Port: sinkPort, Buffer: sinkBuffer, Mode: sinks[name], Device: r.network.device}
	s, err := target.StartSink(ctx, r.network.serverCore, cfg.Arguments()...)
	if err != nil {
		return nil, fmt.Errorf("start the reference %q: %w", name, err)
	}
	return &tested{name: name, sink: s}, nil
}

// stopServer stops a server that runs.
func (t *tested) stopServer() error {
	if !t.running {
		return nil
	}
	t.running = false
	return t.server.Stop()
}

// stopServers stops the servers, and removes their files.
func (r *benchRun) stopServers() error {
	var first error
	for _, t := range r.targets {
		if err := t.stopServer(); err != nil && first == nil {
			first = err
		}
	}
	if err := os.RemoveAll(r.dir); err != nil && first == nil {
		first = err
	}
	return first
}
