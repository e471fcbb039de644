// Package split completes attempts whose knocks have gone to several gateways of a fleet.
// Each gateway publishes which knocks it has got; the one whose part is the last grants.
// SPLIT.md has the key, the format of its value, and the rules with their reasons.
//
//	sessions.Config.Parts -> collector   knocks of attempts that are not complete: for 10 ms
//	                                     (delay), so that an attempt of which all knocks
//	                                     come here costs etcd nothing
//	                      -> Bucket      has the client published too many parts lately?
//	                      -> Run         a transaction for each client adds the part to its
//	                                     key, if that has the known value; otherwise it
//	                                     reads the value, verifies it, and tries again
//	   all knocks are there -> sessions.Complete -> the record of the fleet -> the gate
//
// value.go and merge.go are pure: what a value is, how a part is added, and when an attempt
// is complete. Only the record of the fleet decides that an attempt opens once.
//
// Bounds: maxHeld attempts of a client wait at a time, and maxPending of all; others are dropped
// and counted. A client publishes at most as many parts as sessions.Limit permits
// attempts. At most maxRequests requests are sent at once, of at most cluster.MaxOperations
// clients.
//
// Goroutines: the shards of package sessions call Knock, which never waits; Run has one, and
// one for each request.
package split
