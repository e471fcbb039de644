package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
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
// every address, according to the lists in /proc/net. A list that is missing counts
// as empty.
func listensEverywhere(proc fs.FS, protocol string, ports access.Ports) bool {
	const listening, unconnected = "0A", "07" // of TCP, and of UDP
	for _, name := range []string{protocol, protocol + "6"} {
		f, err := proc.Open(name)
		if err != nil {
			continue
		}
		found := false
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != listening && fields[3] != unconnected {
				continue
			}
			address, at, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(at, 16, 16)
			found = found || strings.Trim(address, "0") == "" && err == nil && ports.Has(uint16(port))
		}
		f.Close()
		if found {
			return true
		}
	}
	return false
}

// procNet is the directory in which the kernel lists the sockets of this network
// namespace.
func procNet() fs.FS { return os.DirFS("/proc/self/net") }
