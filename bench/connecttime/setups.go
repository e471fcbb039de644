package connecttime

import (
	"fmt"
	"slices"
	"strings"
)

// Ports of the server's host. Each service has one, from firstPort on.
const (
	plainPort    = 7000 // open: speaks first
	plainWebPort = 7001 // open: a web server
	upstreamPort = 7002 // on the loopback: speaks first
	firstPort    = 7100
)

// service is a service under test.
type service struct {
	name     string // in the configuration; also of its client
	title    string
	settings string // of its table
	web      bool   // the client speaks first
	guards   bool   // the program behind it listens at its own port
	hidden   bool   // the firewall hides it, at least with some kernels
	exchange bool   // the challenge–response protocol opens it
}

// setup is a server under test.
type setup struct {
	name string
	// plain: without CAP_NET_ADMIN.
	plain    bool
	firewall bool // hides all services
	services []service
}

const (
	webService   = "type = \"web\"\n"
	proxyService = "type = \"proxy\"\nupstream = \"127.0.0.1:7002\"\n"
	filtered     = "look = \"filtered\"\n"
	guarded      = "type = \"firewall\"\n"
)

func setups() []setup {
	return []setup{
		{name: "sockets", services: []service{
			{name: "web", title: "web, closed", settings: webService, web: true},
			{name: "webf", title: "web, filtered", settings: webService + filtered, hidden: true, web: true},
			{name: "proxy", title: "proxy, closed", settings: proxyService},
			{name: "proxyf", title: "proxy, filtered", settings: proxyService + filtered, hidden: true},
			{name: "proxyx", title: "proxy, closed, exchange", settings: proxyService, exchange: true},
		}},
		{name: "no CAP_NET_ADMIN", plain: true, services: []service{
			{name: "web", title: "web, closed", settings: webService, web: true},
			{name: "proxy", title: "proxy, closed", settings: proxyService},
		}},
		{name: "firewall", firewall: true, services: []service{
			{name: "drop", title: "firewall, drop", settings: guarded, guards: true},
			{name: "reject", title: "firewall, reject", settings: guarded + "policy = \"reject\"\n", guards: true},
			{name: "web", title: "web, closed", settings: webService, web: true},
			{name: "webf", title: "web, filtered", settings: webService + filtered, hidden: true, web: true},
			{name: "proxy", title: "proxy, closed", settings: proxyService},
			{name: "proxyf", title: "proxy, filtered", settings: proxyService + filtered, hidden: true},
			{name: "dropx", title: "firewall, drop, exchange", settings: guarded, guards: true, exchange: true},
		}},
	}
}

// onLoopback returns the server with the services that can be measured there: the firewall
// lets the loopback pass.
func (s setup) onLoopback() setup {
	s.services = slices.DeleteFunc(slices.Clone(s.services), func(v service) bool { return v.guards || v.hidden || s.firewall })
	return s
}

// text returns the configuration of a server that clients reach at an address.
func (s setup) text(address string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version = 1
server = %q
ports = 3
port_secret_file = "port_secret"
clients = "clients.txt"
durability = "strict"
`, address)
	for i, v := range s.services {
		fmt.Fprintf(&b, "[[service]]\nname = %q\nlisten = \":%d\"\nopen_for = \"30s\"\n%s", v.name, firstPort+i, v.settings)
	}
	return b.String()
}
