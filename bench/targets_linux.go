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
	// sinkPort is none that a schedule draws.
	sinkPort = 1024
	// sinkBuffer is the server's default receive_buffer.
	sinkBuffer = 1 << 20
)

// The targets, as results name them.
const (
	shipped       = "shipped"         // a hundred clients, the kernel's filter on
	unfiltered    = "no-filter"       // the same without the filter
	manyClients   = "million-clients" // 1,048,576 of them
	three         = "three-knocks"    // sequences of three, filter on
	threeOpen     = "three-knocks-no-filter"
	twoReaders    = "two-readers" // on the one core
	strict        = "strict"      // nonces on disk before anything opens
	bareSink      = "sink"        // bare recvmmsg
	refuseAllSink = "reject-all"  // a socket filter that is one return
)

// tested is a target and what is kept of it over the run.
type tested struct {
	name   string
	server *target.Server // or
	sink   *target.Sink
	aimed  *aimed // at the server
	memory report.Series
}

func (t *tested) process() *target.Process {
	if t.server != nil {
		return t.server.Process
	}
	return t.sink.Process
}

// startServers starts the named ones.
func (r *runner) startServers(ctx context.Context, names ...string) error {
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
		cfg.Address, cfg.Web, cfg.Core = serverAddress.String(), 8000+i, r.world.serverCore
		cfg.Beside = running
		s, err := target.StartServer(ctx, cfg)
		if err != nil {
			return fmt.Errorf("start the server %q: %w", name, err)
		}
		running = append(running, s)
		r.targets[name] = &tested{name: name, server: s, aimed: aimAt(s, r.world.link), memory: report.Series{Target: name}}
	}
	return nil
}

// startSink starts a bare receiver for the time of a window: two of them
// cannot have the port.
func (r *runner) startSink(ctx context.Context, name string) (*tested, error) {
	cfg := target.SinkConfig{Port: sinkPort, Buffer: sinkBuffer, Refuse: name == refuseAllSink}
	s, err := target.StartSink(ctx, r.world.serverCore, cfg.Arguments()...)
	if err != nil {
		return nil, fmt.Errorf("start the reference %q: %w", name, err)
	}
	return &tested{name: name, sink: s}, nil
}

// stopServers ends them in order, and removes what they kept.
func (r *runner) stopServers() error {
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
