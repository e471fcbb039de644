package client

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// maxSocketTable is how much of a table of the kernel the client reads.
const maxSocketTable = 4 << 20

// connectionsTo counts the established connections of this computer to an address and
// port, from the table of the network namespace of this thread. 0: there are none, or
// the client may not read the table.
func connectionsTo(at netip.AddrPort) (n int) {
	tables := []string{"tcp6"}
	if at.Addr().Unmap().Is4() {
		tables = []string{"tcp", "tcp6"} // a socket of both families is in the second one
	}
	for _, table := range tables {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		n += countConnections(io.LimitReader(f, maxSocketTable), at)
		f.Close()
	}
	return n
}

// countConnections counts the established connections to an address and port in a table
// of the form of proc(5).
func countConnections(table io.Reader, at netip.AddrPort) (n int) {
	const established = "01"
	at = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		if to, ok := parseSocket(fields[2]); ok && to == at {
			n++
		}
	}
	return n
}

// parseSocket parses an address and a port of the table: words of 32 bits in the order of
// this computer, and the port, in hexadecimal.
func parseSocket(s string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(address)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(number)), ok
}
