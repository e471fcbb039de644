package xdp

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// portRange has the local ports, first to last, that flows of the kernel may have: of
// datagrams to these, the program looks up the flow, or leaves them to the socket if it
// cannot (see Tracks). first > last: none.
type portRange struct{ First, Last uint32 }

var (
	noPort  = portRange{1, 0}
	allPort = portRange{0, 1<<16 - 1}
)

// CheckFlows finds out which local ports flows of the kernel may have. It must run where
// Attach runs; Load runs it first, and the holder must repeat it, for instance each
// two seconds, because an administrator may add rules. It requires CAP_NET_ADMIN. After an
// error, all ports may have flows.
//
// A lookup costs more than all other rules together, so it is only made where it can
// find something. A flow whose local port is a live knock port does not begin at a
// socket of this host: the kernel gives each port to one user only, and a port is not in
// the shield's table unless the server has it. Only address translation (NAT) gives
// such a port to a flow, in either direction: it does not look at sockets. Without
// translation, all ports of this host belong to its sockets.
func (p *Program) CheckFlows() error {
	translates, err := translates()
	ports := noPort
	switch {
	case (translates || err != nil) && p.tracks:
		ports = allPort
	case translates || err != nil:
		ports = ephemeral()
	}
	if ports != p.state.Flows {
		next := p.state
		next.Flows = ports
		if err := p.setState(next); err != nil {
			return fmt.Errorf("write to the shield which ports flows have: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("find the host's address translation: %w", err)
	}
	return nil
}

// LooksUp reports whether address translation makes the program look up flows, or leave
// high ports to the sockets. It also does if the host's rules cannot be read.
func (p *Program) LooksUp() bool { return p.state.Flows != noPort }

// translates reports whether the thread's network namespace has rules that translate
// addresses, or may have some.
func translates() (bool, error) {
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + name)
		switch {
		case os.IsNotExist(err): // no table of this kind
		case os.IsPermission(err): // a holder that is not root, and the older iptables
			return true, nil
		case err != nil:
			return true, err
		case strings.Contains("\n"+string(b), "\nnat\n"):
			return true, nil
		}
	}
	c, err := nftables.New()
	if err != nil {
		return true, err
	}
	chains, err := c.ListChains()
	for range 5 { // the rules changed during the dump
		if !errors.Is(err, unix.EINTR) {
			break
		}
		chains, err = c.ListChains()
	}
	if err != nil {
		return true, err
	}
	for _, chain := range chains {
		if chain.Type == nftables.ChainTypeNAT {
			return true, nil
		}
	}
	return false, nil
}

// ephemeral returns the ports that systems give to sockets without one, and that
// translation keeps: those of this host, and those of Linux and of others (RFC 6335).
func ephemeral() portRange {
	const usual = 1 << 15
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return portRange{1024, 1<<16 - 1}
	}
	first := uint64(1024)
	if bounds := strings.Fields(string(b)); len(bounds) == 2 {
		if n, err := strconv.ParseUint(bounds[0], 10, 16); err == nil {
			first = n
		}
	}
	return portRange{uint32(min(first, usual)), 1<<16 - 1}
}
