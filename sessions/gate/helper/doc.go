// Package helper keeps the right to change the firewall in a small process of
// its own, apart from the one that parses what strangers send.
//
//	the server, without privileges            the helper, CAP_NET_ADMIN only
//	Door.Admit, Door.Dismiss, Client.Knock
//	  -> Request: changes, fixed in size --->  parse -> Policy: is it in line
//	                                             with the configuration?
//	  <- Reply: done, or why not <-----------  -> Firewall: one transaction
//
// They speak over a socket pair that keeps messages apart (SOCK_SEQPACKET), one
// request at a time. The helper has read the configuration by itself: a
// request names services by their number, and can neither open what is not
// configured, nor for longer, nor to everyone where that was not said. When the
// server's end closes, however it died, the helper closes everything and ends.
// When the helper dies, the kernel ends what is open by itself, and the server
// stops, since it can open nothing more.
package helper
