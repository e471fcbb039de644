// Package target runs the targets of a flood: the shipped server, in a separate
// process, and the bare references that it is compared with.
//
//	StartServer     sallyportd with a configuration made for the test
//	StartSink       a bare reference: a recvmmsg loop, a socket that refuses everything,
//	                a program at the driver that drops everything, or a loop that reads
//	                the rings of a shield
//	Process         the usage of either: processor time, memory, log lines
//
// Each runs on a given core. Linux only.
package target
