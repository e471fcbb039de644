// Package helper keeps the right to change the firewall in a small process of
// its own, apart from the one that parses what strangers send.
//
//	the server, without privileges            the helper, CAP_NET_ADMIN only
//	Enforcer.Apply, Client.OpenKnockPorts
//	                     <- ready, and the digest of what the helper has read
//	  -> request: changes, or ports, of fixed
//	     size, up to MaxChanges of them --->  parse -> Policy: is each in line
//	                                            with the configuration?
//	                                          -> firewall.Table: one transaction
//	  <- reply: done, or which changes
//	     have failed, and why <-------------
//
// They speak over a socket pair that keeps messages apart (SOCK_SEQPACKET), one
// request at a time. The helper has read the configuration by itself: a request
// names services by the identifiers that both have derived from their names, and
// can neither open what is not configured, nor for longer, nor to anyone where
// that was not said. A server that has read another configuration does not
// start. Times are relative on the wire, since each process has clocks of its
// own: between them, leases end by clock.Boot and the kernel's elements by
// clock.Monotonic, and Enforcer knows both.
//
// When the server's end closes, however it died, the helper closes everything and
// ends. When the helper dies, the kernel ends what is open by itself, and the
// server stops, since it can open nothing more.
package helper
