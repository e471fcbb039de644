package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"testing"
	"time"
)

// Gateway is one gateway's way to the members.
type Gateway struct {
	endpoints []string
	paths     []*Path
}

// Gateway returns another way to the members, for one gateway.
func (c *Cluster) Gateway(t testing.TB) *Gateway {
	t.Helper()
	return c.gateway(t, false)
}

// GatewayAt is Gateway, with an address at which the harness listens for each member, for
// a gateway in another network namespace.
func (c *Cluster) GatewayAt(t testing.TB, addresses ...string) *Gateway {
	t.Helper()
	if len(addresses) != len(c.members) {
		t.Fatalf("got %d addresses for %d members", len(addresses), len(c.members))
	}
	return c.gateway(t, false, addresses...)
}

// gateway is Gateway. If it waits, connections wait for a member that does not run: gRPC
// pauses for a second after a connection that was refused.
func (c *Cluster) gateway(t testing.TB, waits bool, addresses ...string) *Gateway {
	t.Helper()
	g := &Gateway{}
	for i := range c.members {
		address := "127.0.0.1:0"
		if addresses != nil {
			address = addresses[i]
		}
		l := listen(t, address)
		p := &Path{}
		t.Cleanup(p.Cut)
		go func() {
			for {
				dialer, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					target, err := c.dial(i, "client")
					for ; err != nil && waits && t.Context().Err() == nil; target, err = c.dial(i, "client") {
						time.Sleep(2 * time.Millisecond)
					}
					if err != nil {
						dialer.Close()
					} else {
						p.join(dialer, target, false)
					}
				}()
			}
		}()
		scheme := "http"
		if c.options.TLS {
			scheme = "https"
		}
		g.endpoints = append(g.endpoints, fmt.Sprintf("%s://%s", scheme, l.Addr()))
		g.paths = append(g.paths, p)
	}
	return g
}

// Endpoints returns the addresses of the members, for this gateway only.
func (g *Gateway) Endpoints() []string { return g.endpoints }

// To returns the path to a member.
func (g *Gateway) To(member int) *Path { return g.paths[member] }

// Each calls a function for the path to each member, as in Each((*Path).Cut).
func (g *Gateway) Each(do func(*Path)) {
	for _, p := range g.paths {
		do(p)
	}
}

// Between returns the path between two members.
func (c *Cluster) Between(a, b int) *Path {
	return c.between[[2]int{min(a, b), max(a, b)}]
}

// peerHost is a member's address for the others: an address of documentation (RFC
// 5737). No packet goes there: the members reach each other through their proxies.
func peerHost(member int) string { return fmt.Sprintf("192.0.2.%d:2380", member+1) }

// serveProxy starts the HTTP proxy through which a member reaches the others, and
// returns its URL.
func (c *Cluster) serveProxy(t testing.TB, member int) string {
	t.Helper()
	targets := map[string]http.Handler{}
	for other := range c.members {
		if other == member {
			continue
		}
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			target, err := c.dial(other, "peer")
			if err != nil {
				return nil, err
			}
			near, far := net.Pipe()
			go c.Between(member, other).join(far, target, member > other)
			return near, nil
		}}
		t.Cleanup(transport.CloseIdleConnections)
		targets[peerHost(other)] = &httputil.ReverseProxy{
			Rewrite:       func(*httputil.ProxyRequest) {},
			Transport:     transport,
			FlushInterval: -1, // members answer by streams
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.WriteHeader(http.StatusBadGateway)
			},
			ErrorLog: silent,
		}
	}
	l := listen(t, "127.0.0.1:0")
	server := &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := targets[r.URL.Host]; h != nil {
			h.ServeHTTP(w, r)
		} else {
			http.Error(w, "no member has this address", http.StatusBadGateway)
		}
	})}
	t.Cleanup(func() { server.Close() })
	go server.Serve(l)
	return "http://" + l.Addr().String()
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
