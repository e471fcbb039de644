// Package netns gives tests and benchmarks private networks: traffic goes only
// to namespaces that the caller created.
//
//	Enter      runs the calling test again, alone in a new user, mount and network
//	           namespace, where it is root over its own network
//	New        creates another network namespace: a host; for tests, NewHost
//	Join       creates a veth pair between this namespace and a Host (JoinRelayed: on
//	           which a program decides about each frame); for tests,
//	           Connect
//	Count      reads the packet counters of an end of the pair
//	Until      waits for a condition, for as long as the test may take
//	Deadline   returns the deadline for a socket from which a test reads
//	Together   lets more waiting tests run in parallel
//
// ReceiveByThread controls which core processes received packets.
//
// Linux only, except for Until, Deadline and Together.
package netns
