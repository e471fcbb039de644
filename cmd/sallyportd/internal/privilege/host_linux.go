package privilege

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/sessions/gate/sockfilter"
)

// Set is a set of capabilities, a bit each.
type Set uint64

// The capabilities that the server may use.
const (
	NetAdmin Set = 1 << unix.CAP_NET_ADMIN
	NetRaw   Set = 1 << unix.CAP_NET_RAW
	BindLow  Set = 1 << unix.CAP_NET_BIND_SERVICE
	// BPF loads the shield. Engines that do not know it grant SysAdmin instead.
	BPF Set = 1 << unix.CAP_BPF
)

// The capabilities that are used only before the server drops its privileges.
const (
	SetIDs   Set = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	SysAdmin Set = 1 << unix.CAP_SYS_ADMIN
)

// Host is what decides whether a configuration can run on a host.
type Host struct {
	FilterTCP     bool // sockets can filter TCP handshakes, without privileges
	FilterEntries int  // for how many addresses such a filter has room
	FirstOpenPort int  // ports from this one on can be bound without privileges
	NoIPv6        bool // this process cannot make IPv6 sockets
	Held          Set  // by this process
}

// NetAdmin reports whether this process could change the firewall.
func (h Host) NetAdmin() bool { return h.Held&NetAdmin != 0 }

// NetRaw reports whether this process could capture packets.
func (h Host) NetRaw() bool { return h.Held&NetRaw != 0 }

// Shield reports whether this process could load and attach the shield, as far as its
// capabilities decide it.
func (h Host) Shield() bool { return h.NetAdmin() && h.Held&(BPF|SysAdmin) != 0 }

// Probe reads this host's properties from the kernel. It starts a thread, which
// ends before Probe returns.
func Probe() (h Host, err error) {
	h.FilterTCP, h.FilterEntries = sockfilter.Supported(), sockfilter.Capacity()
	h.FirstOpenPort, h.NoIPv6 = 1024, !udp.HasIPv6()
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			h.FirstOpenPort = n
		}
	}
	h.Held, err = held()
	return h, err
}

// held returns the capabilities that this process may use.
func held() (Set, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return Set(data[0].Permitted) | Set(data[1].Permitted)<<32, nil
}
