// Package stay keeps a service open: it knocks again and again, until its context ends.
//
//	Run             the loop; one goroutine owns all state
//	  <- timer      of schedule.next: when the next knock is due, and why (schedule.go, pure)
//	  <- network    the way to the server has changed (network.go, network_linux.go), or
//	                the caller reports that (Config.Changed)
//	  <- OnJump     the host has resumed from a suspension (resume.go)
//	  <- done       the result of a knock
//	  -> knock      client.Knock or client.Exchange, in a goroutine; at most one at a time
//	  -> Report     Opened, Failed, Moving; it must not block
//
// # When
//
// A lease lasts at least open_for from the knock that granted it, so renewals are due
// twice in each open_for: a lost renewal does not close the service. (A lease of less than
// 2.5 s is renewed every second, which leaves no room for a loss.) They are also due
// every maxEvery, however long the lease is, because a router may get another public
// address, which no clock and no event of this computer shows.
//
// After a change of address or network, and after a suspension, a knock is due as soon as
// there was no further change for settleTime. It replaces a knock that waits for an
// answer, since that one came from the former address. After a failure, knocks are due
// with pauses that double, to maxBackoff, and to longBackoff after about an hour. There is at least the gap between the begins of
// two knocks, whatever their reasons are: so the client stays within the limit of a
// server (sessions.DefaultPause), even if each knock sends all its sequences.
//
// # How
//
// All knocks but renewals are watched as those of "sallyport knock". Renewals are watched
// by half-open connections where the system has them, which no program sees. Elsewhere
// they are only sent, since each watch would be a connection to the service. If a service
// was open already, its answer does not prove that the knock arrived: then a second
// sequence follows.
//
// If the port of the service rotates, knocks of a later minute open that minute's port,
// and Opened.Result has it. The port of the former minute closes at the end of its lease.
// Ports for one connection cannot be kept open (SingleUseError).
//
// # The end
//
// A renewal that runs when the context ends may complete for a moment (grace): if it were
// ended, its nonces would count as those of a failed attempt. The service closes at the
// end of its lease.
//
// Times are those of clock.Boot, which continues while the host is suspended, as the
// leases of a server do.
package stay
