package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
)

// checkListeners warns about services behind the firewall that name one address,
// where the program behind the firewall listens on all addresses.
func checkListeners(cfg *config.Config, proc fs.FS) (found []finding) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, at := range s.At() {
			if s.Binds() || !at.Address.IsValid() || !listensEverywhere(proc, s.Protocol(), at.Ports) {
				continue
			}
			found = append(found, warn("listens-elsewhere",
				fmt.Sprintf("name no address, listen = \":%s\", or make the program listen on that address only", at.Ports),
				"service %s guards %s port %s on %s only, but a program listens on all addresses: strangers reach it on the other addresses without a knock",
				s.Name, s.Protocol(), at.Ports, at.Address))
		}
	}
	return found
}

// listensEverywhere reports whether a socket receives from one of the ports on
// every address. A list that is missing counts as empty.
func listensEverywhere(proc fs.FS, protocol string, ports access.Ports) bool {
	receivers, _ := receiving(proc, protocol)
	return slices.ContainsFunc(receivers, func(at netip.AddrPort) bool {
		return at.Addr().IsUnspecified() && ports.Has(at.Port())
	})
}

// listens reports whether a socket receives from a port at an address, or at any
// if the address is not valid. A list that is missing counts as full.
func listens(proc fs.FS, protocol string, port uint16, at netip.Addr) bool {
	receivers, known := receiving(proc, protocol)
	anywhere := !at.IsValid() || at.IsUnspecified()
	return !known || slices.ContainsFunc(receivers, func(own netip.AddrPort) bool {
		return own.Port() == port && (anywhere || own.Addr().IsUnspecified() || own.Addr() == at.Unmap().WithZone(""))
	})
}

// receiving returns where sockets receive, by the lists in /proc/net. Known is false
// if there is no list.
func receiving(proc fs.FS, protocol string) (at []netip.AddrPort, known bool) {
	const listening, unconnected = "0A", "07" // states of TCP, and of UDP
	for _, name := range []string{protocol, protocol + "6"} {
		text, err := fs.ReadFile(proc, name)
		if err != nil {
			continue
		}
		known = true
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != listening && fields[3] != unconnected {
				continue
			}
			address, number, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(number, 16, 16)
			if a := procAddress(address); err == nil && a.IsValid() {
				at = append(at, netip.AddrPortFrom(a, uint16(port)))
			}
		}
	}
	return at, known
}

// procAddress parses an address of /proc/net: words of 32 bits in the byte order
// of this machine.
func procAddress(text string) netip.Addr {
	b, err := hex.DecodeString(text)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

// procNet is the directory in which the kernel lists the sockets of this network
// namespace.
func procNet() fs.FS { return os.DirFS("/proc/self/net") }
