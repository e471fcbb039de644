// Package access defines how the gate describes access: which peer is admitted to
// which service until when, from the decision down to the kernel.
//
//	netip.Addr, of a grant
//	  -> PeerIn    the peer that the lease admits: the only place that knows of
//	               prefixes, of link-local addresses, and of anyone; a service that
//	               requires an initial sequence number adds that of the grant
//	  -> Change    a service, a peer, and until when
//	  -> Enforcer  makes it real: the listener, its socket filter, the flows of
//	               UDP, the firewall
//	       Set     the peers that an enforcer in this process admits
//
// A Change is absolute: it describes the resulting state, not a difference. So it
// can be repeated, and the last change of a peer counts.
package access
