// Package cluster is the connection of a gateway to the etcd cluster that a fleet
// shares. It knows nothing about nonces or grants.
//
//	Open    returns at once, whether etcd answers or not
//	Txn     a linearizable transaction, within Config.Timeout
//	Get     a linearizable read, likewise
//	Follow  a prefix: a snapshot by pages at one revision, and then all changes
//	Gap     the cluster lost a part of what it acknowledged: see position.go
//
// Each endpoint has its own client of etcd's library (member.go), so that the package
// decides which member gets a request. A request that fails, or takes half of the time,
// goes to the next one: a member that hangs costs the first request half of its time, and
// the later ones nothing. So a transaction may have been applied although its answer was
// lost, and be sent again: its caller must recognise its own write.
//
// Goroutines: one for each endpoint until its client has a token, one that asks for the
// position of the cluster every few seconds (health.go), those of gRPC, and the callers of
// Follow. Close ends the first three, and makes Follow return.
package cluster
