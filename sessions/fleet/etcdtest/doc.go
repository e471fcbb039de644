// Package etcdtest runs real members of etcd for tests: the program etcd in PATH, one
// member or three, each a process that ends with the test. A test without it skips.
//
//	Start      starts the members, and returns when they have a leader
//	Gateway    is one gateway's way to the members: other addresses for each, with a Path
//	           to each member; GatewayAt, for one in another network namespace
//	Between    is the Path between two members
//	Path       passes bytes: Cut ends its connections, Hold keeps the bytes of a
//	           direction, Delay adds latency, Heal ends all three
//	Kill, Stop, Continue, Restart   act on the process of a member
//	Wipe, Snapshot, Restore         replace the data of all members
//	Root       is a client with all rights, for everything else: compaction, alarms
//
// The members listen on Unix sockets in the test's directory, so no port can be taken
// by others. The harness listens on the loopback interface for gateways, and is the
// HTTP proxy of each member for the addresses of the others:
//
//	gateway -> 127.0.0.1:port (Gateway) -> Path -> socket of a member
//	member  -> its proxy                -> Path -> socket of another member
//
// Connections still open while a Path is held: a network that drops packets differs
// from it in that connect(2) does not return. A slow disk of a member looks to a
// gateway like Delay, and to a member like Stop and Continue: nothing here slows a
// file system.
//
// Debian 12 has etcd 3.4, which has no flag against fsync: the data are in memory
// (/dev/shm), if the host has that. .ci/full runs the tests with the current release, too,
// whose programs it compiles from the module in ../release and puts first in PATH. Linux
// only.
package etcdtest
