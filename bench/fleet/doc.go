// Package fleet measures gateways that share an etcd, beside a server without a fleet: the
// programs sallyportd and etcd, each gateway in its own network namespace.
//
//	clients   198.18.0.0/15, here
//	  |  veth                             knocks of client.Sequence, over sockets
//	gateway   10.7.G.1, in a namespace
//	  |  10.8.G.1; veth, or a link whose frames a relay delays
//	members   10.8.G.101 to .103, here    TLS; their data in memory
//
//	Run         testbeds that are compared run at the same time
//	  openings  one attempt at a time, in all of them in turn: from its last knock until the
//	            service is open, at the gateway that was knocked and at all others; and,
//	            after each, a write of one key to the same member, over the same link
//	  loads     many attempts at a time: grants a second, and what they cost the gateways and
//	            the members
//	  idle      what the gateways cost the members without knocks
//	Result      the goals, and what 100 gateways with 10 million clients would need
//
// Requests are counted by etcd itself (its metrics). The times of grants are those that the
// server reports at its admin socket.
//
// Linux only, except for Result.
package fleet
