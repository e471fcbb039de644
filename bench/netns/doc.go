// Package netns gives tests and benchmarks networks of their own: traffic
// goes nowhere but into namespaces that the caller made.
//
//	Enter      runs the calling test again, alone in a new user, mount and network
//	           namespace, where it is root over its own network
//	New        one more network namespace: another host; for tests, NewHost
//	Join       a veth pair between this namespace and a Host; for tests, Connect
//	Count      what crossed an end of it
//	Until      waits for progress, as long as the test may take
//	Deadline   is the deadline of a socket from which a test expects something
//	Together   lets more tests that wait run side by side
//
// ReceiveByThread says which core pays for what is received.
//
// Linux only, but for Until, Deadline and Together.
package netns
