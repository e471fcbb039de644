// Package admin connects the administrator's commands to the running server: HTTP
// on a Unix socket that only the server's user can open. ADMIN.md specifies the
// interface, and what a version of it may change. Each request exists with the prefix
// /v1 as well, where its errors are JSON (api.go).
//
//	POST /reload          the server reads all its files again: 200 and the number of
//	                      clients; 422 and the error, if nothing has changed; 500, if
//	                      something has, and the server stops
//	POST /reload/trial    the same, with newly hidden services on trial
//	POST /reload/clients  the same for the clients file only
//	POST /restrict        the same, and a client loses rights, or is revoked, at once,
//	                      even if the server rejects the file: then 200 and the reason
//	POST /resync          the shield accepts any nonce of a client until its next knock
//	POST /leases/close    leases end at once
//	GET  /leases          all leases
//	GET  /uses            how often operations with a limit may still be used
//	POST /uses/reset      the uses of an operation are counted from zero
//	POST /list/await      wait until the list of clients in etcd is in force, or refused
//	POST /list/accept     accept that list, although it does not follow the one in force
//	POST /confirm         what is on trial is closed for good
//	GET  /waiting         the services that stay closed even for clients with a lease
//	GET  /failing         the closing commands that fail
//	GET  /shield          what the shield does now
//	GET  /relay           the gateways to which this one relays packets of exchanges
//	GET  /toofar          the clients of which it refuses knocks, as their nonces are too
//	                      far ahead
//	GET  /grants          a line of JSON for each grant as it takes effect
//	POST /trace           a line of JSON for each event of a trace, until it ends
//	GET  /state           a copy of the state file
//	GET  /traffic         all counters, as JSON
//	GET  /status          what the server does now
//	GET  /metrics         the same as metrics of Prometheus
//	GET  /history         what it has refused and closed in the last hour
//	GET  /log             the last lines of its log
//	GET  /debug/pprof/profile   a CPU profile, with the stages as labels
//
//	Serve    the server's side, over Handlers
//	Feed     sends grants to "watch"; a slow reader does not delay a grant
//	Conn     the commands' side
package admin
