package config

import (
	"fmt"
	"strings"
	"unicode"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/relay"
)

// rawProxy has the keys of a proxy, and of a process behind a proxy.
type rawProxy struct {
	Upstream      string `toml:"upstream" kinds:"proxy,process" reload:"live" expect:"host:port, or \"unix:/PATH\" for TCP, to which connections are forwarded; for type \"process\" on the loopback, or \"inherit\""`
	ProxyProtocol bool   `toml:"proxy_protocol" kinds:"proxy,process" default:"false" reload:"live" expect:"true or false, for TCP"`
}

// proxy forwards connections, or datagrams, to another program or host.
type proxy struct {
	listener
	to          relay.Upstream
	proxyHeader bool // the PROXY protocol sends the client's address to the upstream
}

func readProxy(r *rawService, f *tomlfile.File, at, _ string, s *Service) (kind, error) {
	to, err := relay.ParseUpstream(r.Upstream)
	switch {
	case err != nil && strings.HasPrefix(r.Upstream, "unix:"):
		return nil, f.Errorf(at+"upstream", "got %s", unixFault(r.Upstream))
	case err != nil:
		return nil, f.Errorf(at+"upstream", "got %q", r.Upstream)
	case s.UDP && to.Unix() != "":
		return nil, f.Errorf(at+"upstream", "got a Unix socket for UDP")
	case r.ProxyProtocol && s.UDP:
		return nil, f.Errorf(at+"proxy_protocol", "got true for UDP")
	}
	return proxy{to: to, proxyHeader: r.ProxyProtocol}, nil
}

// unixFault returns what is wrong with an upstream at a Unix socket that cannot be one.
func unixFault(text string) string {
	fault := fmt.Sprintf("%q: the path must be absolute, without \".\", \"..\" and empty parts", text)
	if strings.ContainsFunc(text, unicode.IsControl) {
		fault = fmt.Sprintf("%q: the path must not have a control character", text)
	}
	return fault
}

func (p proxy) describe(s *Service) string { return s.Protocol() + " proxy to " + string(p.to) }

func (proxy) fixed() (key, value string) { return "", "" }

func (proxy) missing() fault { return fault{} }

func (p proxy) upstream() string { return string(p.to) }

func (p proxy) live(s *Service, env Env) (l Live, err error) {
	if s.UDP {
		l, update := s.listenUDP(env, relay.UDPConfig{Upstream: p.to, PerAddress: s.Connections, Log: env.Log.With("service", s.Name)})
		l.Load = func(next *Service) (func(), error) {
			return func() { update(next.kind.(proxy).to) }, nil
		}
		return l, nil
	}
	server := gate.NewProxy(relay.TCP{Upstream: p.to, ProxyProtocol: p.proxyHeader}, env.Log.With("service", s.Name))
	if l, err = p.listen(s, server, env); err != nil {
		return l, err
	}
	l.Load = func(next *Service) (func(), error) {
		p := next.kind.(proxy)
		return func() { server.Update(relay.TCP{Upstream: p.to, ProxyProtocol: p.proxyHeader}) }, nil
	}
	return l, nil
}
