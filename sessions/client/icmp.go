package client

// icmpKind is what an ICMP error about a knock means.
type icmpKind uint8

const (
	portUnreachable icmpKind = iota + 1 // nothing listens on the port
	hostUnreachable                     // the host, or the way to it
	prohibited                          // by a firewall
)

// enoughICMP is how many knocks of a sequence must get an ICMP error before the client
// believes that all do: hosts limit their rate. An attacker who cannot read the knocks
// would have to guess that many of their ports.
const enoughICMP = 5

// icmpErrors holds the ICMP errors for the knocks of one sequence. An error counts if
// it quotes a port to which a knock went.
type icmpErrors map[uint16]icmpKind

func (e icmpErrors) count(kind icmpKind) (n int) {
	for _, k := range e {
		if k == kind {
			n++
		}
	}
	return n
}

// all reports whether the errors show that no knock of a sequence arrives.
func (e icmpErrors) all(knocks int) bool {
	return len(e) >= min(knocks, enoughICMP) || e.count(hostUnreachable) > 0
}
