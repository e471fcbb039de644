// Package admin connects the administrator's commands to the running server: HTTP
// on a Unix socket that only the server's user can open.
//
//	POST /reload          the server reads all its files again: 200 and the number of
//	                      clients; 422 and the error, if nothing has changed; 500, if
//	                      something has, and the server stops
//	POST /reload/clients  the same for the clients file only
//	POST /restrict        the same, and a client loses rights, or is revoked, at once,
//	                      even if the server rejects the file: then 200 and the reason
//	POST /resync          the shield accepts any nonce of a client until its next knock
//	POST /leases/close    leases end at once
//	GET  /leases          all leases
//	GET  /uses            how often operations with a limit may still be used
//	POST /uses/reset      the uses of an operation are counted from zero
//	GET  /waiting         the services that stay closed even for clients with a lease
//	GET  /failing         the closing commands that fail
//	GET  /shield          what the shield does now
//	GET  /toofar          the clients of which it refuses knocks, as their nonces are too
//	                      far ahead
//	GET  /grants          a line of JSON for each grant as it takes effect
//	GET  /state           a copy of the state file
//	GET  /traffic         all counters, as JSON
//	GET  /debug/pprof/profile   a CPU profile, with the stages as labels
//
//	Serve    the server's side, over Handlers
//	Feed     sends grants to "watch"; a slow reader does not delay a grant
//	Conn     the commands' side
package admin
