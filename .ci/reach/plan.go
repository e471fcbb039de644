package main

// A route is a way on which packets of strangers enter the server.
type route struct {
	name string
	// sentence is what the report prints before the number.
	sentence string
	// roots are the functions that receive the packets, in the order in which a
	// packet passes them. A function that gets packets over a queue is a root too:
	// a call graph does not show who fills the queue.
	roots []string
	// reaches are functions that the route must reach. Without them, a call that
	// the graph does not show would make the number smaller, unnoticed.
	reaches []string
}

// A rule is a function or a package, and the reason why the count treats it so.
type rule struct{ name, reason string }

func (r rule) is(name string) bool { return r.name == name }

// A plan is what to count in a program.
type plan struct {
	module  string // the functions of this module are counted
	program string // the package main, as a pattern of the go command
	routes  []route
	// authentic are types that only an authentication makes. A function with a
	// parameter of such a type runs after it, and is not counted.
	authentic []string
	// after are other functions that a packet does not reach before it is
	// authenticated, although a route calls them.
	after []rule
	// wrappers are functions of the module that open or read sockets for others.
	wrappers []string
	// openers are all functions that open sockets or map memory, themselves or by a
	// wrapper, with the senders of the packets. A new one requires a line here, and
	// a route if strangers can send there.
	openers []rule
	// elsewhere are packages of the program that do not run in the server.
	elsewhere []rule
}

var sallyport = plan{
	module:  "sallyport",
	program: "./cmd/sallyportd",
	routes: []route{
		{
			name:     "for a knock",
			sentence: "from a knock port until its HMAC is compared",
			roots: []string{
				"(*sallyport/ingest.reader).run",
				"(*sallyport/ingest.shard).drain", // behind the ring, in the pool
			},
			reaches: []string{
				"(*sallyport/ingest.socketSource).fill",
				"(*sallyport/ingest/udp.Messages).Receive",
				"(*sallyport/ingest.ringSource).fill", // with the shield
				"(*sallyport/ingest/xdp.Ring).Next",
				"(*sallyport/ingest.ring).push",
				"(*sallyport/ingest.ring).pop",
				"(*sallyport/verify.Verifier).Precheck",
				"sallyport/verify/wire.Parse",
				"(*sallyport/verify.KeyTable).find",
				"(*sallyport/verify.Verifier).Authenticate",
				"(*sallyport/verify.macState).verify",
			},
		},
		{
			name:     "for an exchange",
			sentence: "until the HMAC of the response is compared, with the challenge",
			roots: []string{
				"(*sallyport/ingest/capture.packetSource).receive", // in the process that captures
				"(*sallyport/ingest/capture.capturerSource).run",   // in the server
				"(*sallyport/ingest/capture.capturer).answers",     // and back
				"(*sallyport/ingest/capture.socketSource).run",
			},
			reaches: []string{
				"(*sallyport/ingest/udp.Messages).Receive",
				"(sallyport/ingest/capture.rule).parse",
				"(*sallyport/ingest/capture.socketSource).read",
				"(*sallyport/cmd/sallyportd/internal/daemon.challenger).Take",
				"(*sallyport/sessions/handshakes.Table).Take",
				"(*sallyport/verify/challenge.Decoder).Add",
				"(*sallyport/cmd/sallyportd/internal/daemon.challenger).allows",
				"sallyport/cmd/sallyportd/internal/daemon.randomPort$1",
				"(sallyport/verify/challenge/exchange.Request).Challenge",
				"(*sallyport/ingest/capture.capturer).Take",
				"(*sallyport/ingest/capture.capturerSource).answer",
				"(sallyport/ingest/capture.rawSockets).send",
				"(*sallyport/ingest/capture.socketSource).answer",
				"(sallyport/verify/challenge/exchange.Pending).Verify",
			},
		},
		{
			name:     "at a service's port",
			sentence: "until a lease is found; only if the socket's filter is full",
			roots: []string{
				"(*sallyport/sessions/gate.listener).Accept",
				"(*sallyport/sessions/gate.tcpPort).Accept",
				"(*sallyport/sessions/gate/relay.UDP).serve",
			},
			reaches: []string{
				"(*sallyport/sessions/gate.tcpPort).admit",
				"(*sallyport/sessions/gate.udpPort).allows",
				"(*sallyport/sessions/gate.TCP).admitFrom",
				"(*sallyport/sessions/gate/access.Set).Enter",
				"(*sallyport/sessions/gate/access.Set).Allows",
			},
		},
		{
			name:     "for a connection",
			sentence: "until its proof is compared; only if the service has bind = \"connection\", from an address with a lease",
			roots: []string{
				"(*sallyport/sessions/gate/prove.Prover).accept",
				"(*sallyport/sessions/gate/prove.Prover).run",
			},
			reaches: []string{
				"sallyport/sessions/gate/prove.addressOf",
				"(*sallyport/sessions/gate.listener).Try",
				"(*sallyport/sessions/gate/prove.table).victim",
				"(*sallyport/sessions/gate/prove.poll).wait",
				"sallyport/sessions/gate/prove.receive",
				"(*sallyport/verify.Connections).Claim",
				"sallyport/verify/preamble.Parse",
				"(*sallyport/verify.macState).verify",
				"(*sallyport/verify.Connections).Prove",
			},
		},
		{
			name:     "over HTTP or DNS",
			sentence: "until the HMAC of the response, or the ticket of a tunnel, is compared; only with such listeners, and beside net/http",
			roots: []string{
				"(*sallyport/ingest/web.DNS).receive",
				"(*sallyport/ingest/web.DNS).accept",
				"(sallyport/ingest/web.boundedListener).Accept",
				"(*sallyport/ingest/web.HTTP).ServeHTTP",
			},
			reaches: []string{
				"(*sallyport/ingest/web.batch).receive",
				"(*sallyport/ingest/web.DNS).serve",
				"(*sallyport/ingest/web.responder).answer",
				"(sallyport/ingest/web.Proxies).client",
				"(*sallyport/verify/challenge/carrier.Message).ParseLabel",
				"(*sallyport/verify/challenge/carrier.Message).ParsePath",
				"(*sallyport/verify/challenge/carrier.Message).ParseForm",
				"(*sallyport/verify/challenge/carrier.Assembler).Add",
				"(*sallyport/sessions/handshakes/carried.Listener).Request",
				"(*sallyport/sessions/handshakes/carried.Listener).Response",
				"(sallyport/verify/challenge/exchange.Request).Challenge",
				"(sallyport/verify/challenge/exchange.Pending).Verify",
			},
		},
		{
			name:     "at the relay port",
			sentence: "until a datagram of another gateway is decrypted; only with `relay`",
			roots:    []string{"(*sallyport/sessions/fleet/relay.Relay).read", "(*sallyport/sessions/fleet/relay.node).answered"},
			reaches: []string{
				"(*sallyport/sessions/fleet/relay.node).receive",
				"sallyport/sessions/fleet/relay.parseHeader",
				"(*sallyport/sessions/fleet/relay.node).open",
			},
		},
	},
	authentic: []string{"sallyport/verify.Knock", "sallyport/verify/challenge/exchange.Proof", "sallyport/verify.Connection"},
	after: []rule{
		{"(*sallyport/ingest/capture.socketSource).openMissing", "binds ports again, after a time"},
		{"sallyport/sessions/gate/sockfilter.Detach", "for a connection whose peer has a lease"},
		{"sallyport/sessions/gate/heldport.Accepted", "for a connection whose peer has a lease"},
		{"(*sallyport/sessions/gate/prove.Prover).check", "for a preamble that is authentic"},
		{"(*sallyport/sessions/gate/prove.Prover).answer", "for a preamble that is authentic"},
		{"sallyport/sessions/gate/relay.newSocket", "before the first datagram"},
		{"(*sallyport/sessions/gate/relay.UDP).endWhere", "after the last datagram"},
		{"sallyport/sessions/gate/relay.newFlow", "for an address that has a lease"},
		{"(*sallyport/sessions/gate/relay.socket).begins", "for an address that has a lease"},
		{"(*sallyport/sessions/gate/relay.flow).run", "for an address that has a lease"},
		{"(*sallyport/sessions/gate/relay.flow).forward", "for an address that has a lease"},
		{"(*sallyport/sessions/gate.UDP).enter", "for an address that has a lease"},
		{"(*sallyport/cmd/sallyportd/internal/daemon.challenger).count", "for a response or a ticket that is right"},
		{"(*sallyport/sessions/fleet/relay.node).become", "for a datagram that is authentic"},
		{"(*sallyport/sessions/fleet/relay.node).hear", "for a datagram that is authentic"},
	},
	wrappers: []string{
		"(*sallyport/ingest/udp.Messages).Receive",
		"(sallyport/ingest/udp.Socket).Open",
		"sallyport/sessions/gate/heldport.socket",
		"sallyport/sessions/gate.listenDenyAll",
		"sallyport/sessions/gate.listenPacketDenyAll",
	},
	openers: []rule{
		// Strangers can send there.
		{"(*sallyport/ingest.portSet).openPort", "the knock ports: route knock"},
		{"(*sallyport/ingest.socketSource).recvInto", "route knock"},
		{"(*sallyport/ingest/xdp.arrays).mapPart", "the rings that the driver's program fills: route knock"},
		{"sallyport/ingest/capture.openPacket", "packet sockets: route exchange"},
		{"(*sallyport/ingest/capture.socketSource).open", "bound ports of exchanges: route exchange"},
		{"(*sallyport/ingest/capture.batch).receive", "route exchange"},
		{"(*sallyport/ingest/web.batch).readOnce", "route web"},
		{"(*sallyport/sessions/gate.TCP).listenAt", "a service's port: route service"},
		{"(*sallyport/sessions/gate.UDP).OpenPort", "a random port: route service"},
		{"(*sallyport/sessions/gate/heldport.TCP).bind", "a service's port, which does not listen"},
		{"(*sallyport/sessions/gate/heldport.TCP).Listen", "a service's port: route service"},
		{"(*sallyport/sessions/gate/heldport.TCP).listenReusing", "a service's port: route service"},
		{"(*sallyport/sessions/gate/heldport.TCP).wrap", "a service's port: route service"},
		{"(*sallyport/sessions/gate/heldport.UDP).bindClosed", "a service's port, of which nothing is read"},
		{"(*sallyport/sessions/gate/heldport.UDP).Listen", "a service's port: route service"},
		{"(*sallyport/cmd/sallyportd/internal/daemon.zone).serve", "UDP and TCP of a zone: route web"},
		{"(*sallyport/cmd/sallyportd/internal/daemon.site).serve", "a web site: route web"},
		{"sallyport/sessions/fleet/relay.listen", "the relay port: route relay"},
		// The wrappers.
		{"(sallyport/ingest/udp.Socket).Open", "for its callers"},
		{"sallyport/sessions/gate/heldport.socket", "for its callers"},
		{"sallyport/sessions/gate.listenDenyAll", "for its callers"},
		{"sallyport/sessions/gate.listenPacketDenyAll", "for its callers"},
		// A filter refuses all packets, or none is read.
		{"sallyport/ingest/capture.openRaw", "sends only"},
		{"sallyport/ingest/capture.Unavailable", "closed again at once"},
		{"sallyport/ingest/udp.HasIPv6", "closed again at once"},
		{"sallyport/ingest.probe", "closed again at once"},
		{"sallyport/sessions/gate/sockfilter.Supported$1", "closed again at once"},
		{"(*sallyport/ingest/xdp.Program).Reset", "the arrays of a program that is attached nowhere, in the holder"},
		{"sallyport/ingest/xdp.probe", "the arrays of a program that is attached nowhere"},
		// Only the kernel, or a local process with the right, can send there.
		{"sallyport/sessions/gate/hostevents.Watch", "netlink: the host's links and addresses"},
		{"sallyport/cmd/sallyportd/internal/admin.listen", "the admin socket, a Unix socket"},
		{"(*sallyport/cmd/sallyportd/internal/daemon.Server).serveMetrics", "the metrics, at the loopback only: config refuses other addresses"},
		{"sallyport/sessions/gate/holder.Listen", "the holder's Unix socket"},
		{"sallyport/sessions/gate/holder.NewConn", "the holder's socket pair"},
		{"sallyport/sessions/gate/holder.Serve", "the holder's socket pair"},
		{"sallyport/cmd/sallyportd/internal/privilege.startHolder", "the holder's socket pair"},
		{"sallyport/cmd/sallyportd/internal/privilege.startCapturer", "the socket pair to the process that captures: route exchange"},
		{"sallyport/cmd/sallyportd/internal/privilege.tryRunner", "the socket pair to a runner"},
		{"sallyport/sessions/gate/runner.Connect", "a runner's socket pair"},
		{"sallyport/sessions/gate/runner.Serve", "a runner's socket pair"},
		{"(*sallyport/sessions/gate/runner.running).supervise", "the socket pair of runner and supervisor"},
		{"sallyport/sessions/gate/prove.connOf", "a connection that has proved itself"},
		{"(*sallyport/sessions/gate.Services).Adopt", "a connection that the server before this one has carried: route service"},
		{"sallyport/sessions/gate.loopbackPair", "the loopback, for a tunnel whose ticket is right: it accepts only its own connection"},
		{"(*sallyport/sessions/gate/relay.Inherited).Open", "a Unix socket in a directory of the server alone, for a program"},
		{"sallyport/sessions/gate/sockowner.withKernel", "netlink: the users of sockets"},
		{"(sallyport/sessions/gate/sockowner.kernel).ask", "netlink: the users of sockets"},
		{"sallyport/cmd/sallyportd/internal/nftcheck.dial", "netlink: the rules"},
		{"(sallyport/cmd/sallyportd/internal/nftcheck.legacyLayout).dump", "getsockopt: the rules of iptables-legacy"},
		{"sallyport/sessions/gate/firewall.openKernel", "netlink: the rules"},
		{"(*sallyport/sessions/gate/firewall.Table).Keep", "netlink: changes of the rules"},
		{"sallyport/sessions/gate/guard.open", "netlink: owns the table"},
		{"sallyport/sessions/gate/heldport.dump", "netlink: the users of a port"},
		{"(*sallyport/sessions/gate/relay.sender).drainErrors$1", "the error queue of a flow"},
		{"sallyport/cmd/sallyportd/internal/loglimit.mapPage", "memory that the processes of the server share, for their log"},
		{"sallyport/cmd/sallyportd/internal/selftest.Send", "sends only, to the knock ports at the loopback"},
		{"sallyport/cmd/sallyportd.demoConfig", "sallyportd demo: finds a free port"},
	},
	elsewhere: []rule{{"sallyport/sessions/client", "the client, of which sallyportd demo makes one"}},
}
