package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/relay"
)

// inheritedDir is the directory, in the state directory, with the sockets that programs
// inherit. No other user may enter it.
const inheritedDir = "program-sockets"

// running is where the program of a service is, while it runs.
type running struct {
	upstream relay.Upstream
	owner    uint32 // of the socket: any local user can have another socket there
	starter  program.Starter
	accepts  func(context.Context) error // nil: something listens there
}

func (p process) live(s *Service, env Env) (l Live, err error) {
	at, err := p.running(s, env)
	if err != nil {
		return l, fmt.Errorf("service %s: %w", s.Name, err)
	}
	log := env.Log.With("service", s.Name)
	accepts := at.accepts
	if accepts == nil {
		accepts = func(ctx context.Context) error { return relay.Accepts(ctx, at.upstream, at.owner) }
	}
	if s.UDP {
		accepts = func(ctx context.Context) error { return relay.Receives(ctx, at.upstream, at.owner) }
		l, _ = s.listenUDP(env, relay.UDPConfig{Upstream: at.upstream, OwnerUID: &at.owner, PerAddress: s.Connections, Log: log})
		l.Load = func(*Service) (func(), error) { return func() {}, nil }
	} else {
		carry := func(p process) relay.TCP {
			return relay.TCP{Upstream: at.upstream, OwnerUID: &at.owner, ProxyProtocol: p.proxyHeader}
		}
		server := gate.NewProxy(carry(p), log)
		if l, err = p.listen(s, server, env); err != nil {
			return l, err
		}
		l.Load = func(next *Service) (func(), error) {
			p := next.kind.(process)
			return func() { server.Update(carry(p)) }, nil
		}
	}
	if at.starter == nil { // the service is only checked
		return l, nil
	}
	of := s.Program(program.Server)
	l.Backend = program.NewBackend(program.BackendConfig{
		Program: of.ID, Starter: at.starter, StartWithin: p.within, StopAfter: of.StopAfter, Log: env.Log,
		Accepts: accepts,
	})
	return l, nil
}

// running finds the user of the program and, if the program inherits a socket, prepares
// that.
func (p process) running(s *Service, env Env) (at running, err error) {
	if p.to != inherit {
		owner, err := privilege.UserID(program.Server.UserKey(), s.Program(program.Server).User)
		return running{upstream: relay.Upstream(p.to), owner: owner, starter: env.Programs}, err
	}
	at.owner = uint32(os.Geteuid()) // this process makes the socket
	if env.Programs == nil {
		return at, nil
	}
	sockets, err := relay.NewInherited(filepath.Join(env.StateDir, inheritedDir), s.ID().String())
	if err != nil {
		return at, err
	}
	at.upstream, at.starter, at.accepts = sockets.Upstream(), inheriting{env.Programs, sockets}, sockets.Accepts
	return at, nil
}

// inheriting starts each run of a program with a new socket.
type inheriting struct {
	program.Starter
	sockets *relay.Inherited
}

// Start implements program.Starter. One goroutine at a time may call it.
func (i inheriting) Start(r program.Request) (program.Run, error) {
	listener, err := i.sockets.Open()
	if err != nil {
		return nil, err
	}
	// The program alone must have the socket: with its end, connections are refused.
	defer listener.Close()
	r.Listener = listener
	return i.Starter.Start(r)
}
