package config

import (
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
)

// rawProxy has the keys of a proxy.
type rawProxy struct {
	Upstream      string `toml:"upstream" kinds:"proxy" reload:"live" expect:"host:port, to which connections are forwarded"`
	ProxyProtocol bool   `toml:"proxy_protocol" kinds:"proxy" default:"false" reload:"live" expect:"true or false, for TCP"`
}

// proxy forwards connections, or datagrams, to another program or host.
type proxy struct {
	listener
	to          string // host:port
	proxyHeader bool   // the PROXY protocol sends the client's address to the upstream
}

func readProxy(r *rawService, f *tomlfile.File, at, _ string, s *Service) (kind, error) {
	if host, _, err := client.SplitService(r.Upstream); err != nil || host == "" {
		return nil, f.Errorf(at+"upstream", "got %q", r.Upstream)
	}
	if r.ProxyProtocol && s.UDP {
		return nil, f.Errorf(at+"proxy_protocol", "got true for UDP")
	}
	return proxy{to: r.Upstream, proxyHeader: r.ProxyProtocol}, nil
}

func (p proxy) describe(s *Service) string { return s.Protocol() + " proxy to " + p.to }

func (proxy) fixed() (key, value string) { return "", "" }

func (proxy) missing() (key, found string) { return "", "" }

func (p proxy) upstream() string { return p.to }

func (p proxy) live(s *Service, env Env) (l Live, err error) {
	if s.UDP {
		udp := gate.NewUDP(gate.UDPConfig{
			Listen: s.Listen, Filtered: s.Filtered, PrefixLen6: s.PrefixLen6, Clock: env.Clock, Log: env.Log,
			Relay: relay.UDPConfig{Upstream: p.to, PerAddress: s.Connections, Log: env.Log.With("service", s.Name)},
		})
		return Live{
			Enforcers: []access.Enforcer{udp}, Prepare: udp.Prepare,
			Load: func(next *Service) (func(), error) {
				return func() { udp.Update(next.kind.upstream()) }, nil
			},
		}, nil
	}
	server := gate.NewProxy(relay.TCP{Upstream: p.to, ProxyProtocol: p.proxyHeader}, env.Log.With("service", s.Name))
	l = p.listen(s, server, env)
	l.Load = func(next *Service) (func(), error) {
		p := next.kind.(proxy)
		return func() { server.Update(relay.TCP{Upstream: p.to, ProxyProtocol: p.proxyHeader}) }, nil
	}
	return l, nil
}
