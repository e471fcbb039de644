// Package helper keeps the right to change the firewall in a small process of
// its own, the holder, apart from the server, which parses what strangers send.
//
//	the server, without privileges            the holder, CAP_NET_ADMIN only
//	Client.Begin
//	  -> begin: version, and the digest of
//	     what the server has read ---------> the same? then Config.Claim: from now
//	                                           on the firewall is this server's
//	  <- ready: everything is closed <------
//	Enforcer.Apply, Client.OpenKnockPorts
//	  -> request: changes, or ports, of fixed
//	     size, up to MaxChanges of them --->  parse -> Policy, Schedule: is each in
//	                                            line with the configuration?
//	                                          -> firewall.Table: one transaction
//	  <- reply: done, or which changes
//	     have failed, and why <-------------
//	Client.Stop
//	  -> exit ----------------------------->  everything is closed, and then
//	  <- reply: it is, or why not <---------
//
// Two requests take longer than that, and are done beside the others: ending
// connections, and looking from which peers there are any (look.go).
//
// They speak over a socket that keeps messages apart (SOCK_SEQPACKET), one request
// at a time. It is a pair, if the server has started the holder; or one in the
// file system, at which a Holder goes on by itself and serves one server after
// another (Client.Run reaches the next one). There both ends look at the
// credentials that the kernel has of the other (peer_linux.go).
//
// The holder has read the configuration by itself: a request names services by
// the identifiers that both have derived from their names, and can neither open
// what is not configured, nor for longer, nor to anyone where that was not said,
// and only ports that are drawn for now take knocks. A server that has read
// another configuration, or is of a release with other messages, does not start.
// Times are relative on the wire, since each process has clocks of its own:
// between them, leases end by clock.Boot and the kernel's elements by
// clock.Monotonic, and Enforcer knows both.
//
// Until a server begins, the holder touches nothing for it: a server begins when
// its state directory is its own. When the server's end closes, however it died,
// the holder closes everything. When the holder dies, the kernel ends what is open
// by itself, what was open is void for the server, and nothing opens until there
// is another holder, which begins by closing everything.
package helper
