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
)

// tested is a target, and its data over the run.
type tested struct {
	name    string
	server  *target.Server // nil: sink is set
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

// startServers starts the servers with these names.
func (r *benchRun) startServers(ctx context.Context, names ...string) error {
	configs := map[string]target.ServerConfig{
		shipped:     {Ports: 1, Clients: hundred},
		unfiltered:  {Ports: 1, Clients: hundred, Unfiltered: true},
		manyClients: {Ports: 1, Clients: million},
		three:       {Ports: 3, Clients: hundred},
		threeOpen:   {Ports: 3, Clients: hundred, Unfiltered: true},
		twoReaders:  {Ports: 1, Clients: hundred, Readers: 2},
		strict:      {Ports: 1, Clients: hundred, Strict: true},
	}
	var running []*target.Server
	for i, name := range names {
		cfg := configs[name]
		cfg.Binary, cfg.Dir = r.cfg.Server, filepath.Join(r.dir, name)
		cfg.Address, cfg.Web, cfg.Core = serverAddress.String(), 8000+i, r.network.serverCore
		cfg.Beside = running
		s, err := target.StartServer(ctx, cfg)
		if err != nil {
			return fmt.Errorf("start the server %q: %w", name, err)
		}
		running = append(running, s)
		r.targets[name] = &tested{
			name: name, server: s, traffic: trafficFor(s, r.network.link), memory: report.Series{Target: name},
		}
	}
	return nil
}

// startSink starts a bare receiver for one window: only one at a time can bind
// the port.
func (r *benchRun) startSink(ctx context.Context, name string) (*tested, error) {
	cfg := target.SinkConfig{Port: sinkPort, Buffer: sinkBuffer, Refuse: name == refuseAllSink}
	s, err := target.StartSink(ctx, r.network.serverCore, cfg.Arguments()...)
	if err != nil {
		return nil, fmt.Errorf("start the reference %q: %w", name, err)
	}
	return &tested{name: name, sink: s}, nil
}

// stopServers stops the servers, and removes their files.
func (r *benchRun) stopServers() error {
	var first error
	for _, t := range r.targets {
		if err := t.server.Stop(); err != nil && first == nil {
			first = err
		}
	}
	if err := os.RemoveAll(r.dir); err != nil && first == nil {
		first = err
	}
	return first
}
