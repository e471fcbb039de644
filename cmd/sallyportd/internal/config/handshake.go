package config

// GrantedHandshake reports whether the host of the server completes a TCP handshake with
// a service only for addresses to which it is open, if at most a number of leases of the
// service are in force at a time. So a client that has completed one has a lease.
//
//	firewall, or any service in the     yes: the table drops or rejects a stranger's SYN
//	firewall's table
//	another service, with socket        yes, if the filter has room for all leases: the
//	filters without privileges          kernel drops a stranger's SYN. Above that, the server
//	                                    accepts strangers, and resets them
//	another service, without filters    no: while the service is open to a client, the
//	                                    server accepts strangers, and resets them
//	open_to = "anyone"                  no: the lease may be that of another client
//	port = "rotate"                     no: another program may have one of the ports at
//	                                    which the client looks for the service
//
// With look = "closed", a service without leases refuses strangers in any case, but
// that does not help a client while another one has a lease.
func (c *Config) GrantedHandshake(s *Service, h Host, leases int) bool {
	switch {
	case !s.HasPort(), s.UDP, s.Policy.Anyone, s.Rotates():
		return false
	case c.NeedsFirewall(h) != "":
		return true
	}
	return s.Binds() && h.FilterTCP && leases <= h.FilterEntries
}
