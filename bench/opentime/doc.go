// Package opentime measures the time from a grant to the open service, for each
// type of service: the duration of the gate's call that opens it. When the call
// returns, the client has access. The enforcers are those of the server, with
// sockets and a firewall in the caller's namespace. The firewall is changed by
// way of the holder's protocol.
package opentime
