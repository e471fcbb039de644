// Package netns gives tests and benchmarks networks of their own: traffic
// goes nowhere but into namespaces that the caller made.
//
//	Enter      runs the calling test again, alone in a new user, mount and network
//	           namespace, where it is root over its own network
//	NewHost    one more network namespace: another host
//	Connect    a veth pair between this namespace and a Host
//
// Linux only.
package netns
