// Package sessions turns authenticated knocks into grants. It owns all state of
// the clients: a replay window and a slot for each secret of a client, of fixed
// size. A client has two secrets during a rotation. The package allocates all
// state at start and when the list of clients changes, never for a knock.
//
//	verify.Knock, source address
//	  -> Deliver        shard chosen by xxhash of the identifier; its queue
//	  -> replay.Window  nonce used before? dropped
//	  -> threshold      stamped before the server received all knocks with the
//	                    secret? dropped, and its nonce counts as used
//	  -> slot           how many knocks of each of the newest attempts have arrived:
//	                    a client sends one to each address of the server
//	       attempt      from which prefix: all from one address, unless a service of
//	                    the client opens for more (Spread)
//	  -> Bucket         all n: has the client completed too many attempts lately?
//	  -> grantQueue     one grant for each client and address family, the newest
//	  -> recorder       the Journal makes all queued grants durable together, and answers
//	                    for each: an error refuses this grant, and no other
//	  -> Config.Close   ends what the clients of closing attempts have, and then
//	  -> Gate           opens for the source addresses of the others, all together
//
// Knocks that close (verify.Knock.Closes) go the same way as those that open, and use the
// same nonces. No attempt has knocks of both kinds.
//
// A connection that proves itself uses a nonce of the same windows (connection.go): the
// shard that owns its client decides, and the recorder makes it durable with the grants.
//
// Several servers may share a Journal (package fleet). Then it refuses an attempt with a
// nonce that another server has used (ErrUsed): this is a replay, and closes nothing
// either. Learn makes nonces of other servers used in the windows, by the updates of the
// shards, so that replays are refused before the Journal.
//
// The knocks of an attempt may go to several servers (split.go). Config.Parts gets those
// that come here, and Complete takes an attempt of which others have got the rest: then it
// takes a token of the Bucket, and goes on to the grantQueue.
//
// Of an attempt whose knocks came from two addresses that are not allowed together, the
// recorder logs a line (othersource.go). Their number is bounded.
//
// A trace (trace.go) gets what becomes of each knock and attempt of one client, for its
// administrator. Without one, that is one pointer to read for each knock.
//
// A client belongs to one shard, and a shard to one goroutine, so client state
// needs no lock. Only the Floor of a secret is shared: verifiers read it. Ingest's
// workers call Deliver, which never blocks: if the queue is full, it drops the
// knock and counts it. A shard never waits for the Journal or the Gate either.
// Only the recorder's goroutine calls them, and they may be slow. Meanwhile the
// shards queue grants, at most one for each client and address family: a newer
// grant replaces the one before. So a client cannot delay the others, however
// often it knocks.
package sessions
