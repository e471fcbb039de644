// Package sessions turns authenticated knocks into decisions to open. It owns
// all state of the clients: a replay window and a slot each, of fixed size,
// made at start and at a change of the list of clients, never for a knock.
//
//	verify.Knock, source address
//	  -> Deliver        shard chosen by xxhash of the identifier; its queue
//	  -> replay.Window  used before? dropped
//	  -> threshold      stamped before the server knew all knocks of the client?
//	                    dropped, and its nonce is used
//	  -> slot           which knocks of the newest attempt are there
//	  -> Bucket         all n: has the client opened too often just now?
//	  -> waiting        one grant a client and family, the newest
//	  -> recorder       the Journal makes it durable, for all grants that wait
//	                    at a time
//	  -> Grants         the gate opens for their source addresses, all at a time
//
// A client belongs to one shard, a shard to one goroutine, so no state is
// locked but the client's Floor, which verifiers read. Deliver is called by
// ingest's workers and never blocks: a full queue drops the knock and counts
// it. Nor does a shard ever wait: Journal and Gate are called by the recorder's
// goroutine alone, and may take as long as they take. Meanwhile grants gather, at
// most one a client and address family: the newest takes the place of the one
// before. So no client can have the others wait, however often it knocks.
package sessions
