// Package fleet records used nonces for several gateways on one etcd, so that no nonce is
// accepted twice anywhere. FLEET.md has the keys, the format of the values and the rules,
// with their reasons.
//
//	sessions.Entry -> Record   for each client: is each nonce of the attempt unused in the
//	                           record of the fleet? Then one transaction writes it, if
//	                           the key has the known value; otherwise it reads the
//	                           value, and Record begins again
//	               -> local    the record on this host's disk, at the same time
//	etcd -> Run    -> view     the records of registered clients, as old as they may be
//	               -> Learn    raises the windows of this gateway's clients
//
// The view saves a round trip, and refuses replays early. Only a transaction decides.
//
// Memory: the view has at most 160 bytes for each registered client whose value has one
// record, some 50 more for each further record, of which there are at most 32, and
// nothing for others. Requests: at most maxRequests at once, of at most
// cluster.MaxOperations clients.
//
// Goroutines: the one that calls Record, which waits for its requests; the one of Run; and
// those of package cluster.
package fleet
