// Package target is what a flood is aimed at: the shipped server in a process
// of its own, and the bare references that it is compared with.
//
//	StartServer     sallyportd with a configuration made for the test
//	StartSink       a bare recvmmsg loop, or a socket that refuses everything
//	Process         what either has used: processor time, memory, lines of log
//
// Each runs on the core that it is given. Linux only.
package target
