// Package access is the one form in which the gate says who is let in, to what
// and until when, from the decision down to the kernel.
//
//	netip.Addr, of a grant
//	  -> PeerOf    whom the lease lets in: the only place that knows of /64,
//	               of link-local addresses, and of anyone
//	  -> Change    a service, a peer, and until when
//	  -> Enforcer  makes it real: the listener, its socket filter, the flows of
//	               UDP, the firewall
//	       Set     what an enforcer in this process lets in
//
// A Change is absolute: it says what is to be, not what is to be added. So it
// can be repeated, and the last one counts.
package access
