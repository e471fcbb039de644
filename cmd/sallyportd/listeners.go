package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
)

// checkListeners warns about services behind the firewall that name one address,
// where the program behind the firewall listens on all addresses.
func checkListeners(cfg *config.Config, proc fs.FS) (found []finding) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Binds() || !s.Host().IsValid() || !listensEverywhere(proc, s.Protocol(), s.Port()) {
			continue
		}
		found = append(found, warn("listens-elsewhere",
			fmt.Sprintf("name no address, listen = \":%d\", or make the program listen on that address only", s.Port()),
			"service %s guards %s port %d on %s only, but a program listens on all addresses: strangers reach it on the other addresses without a knock",
			s.Name, s.Protocol(), s.Port(), s.Host()))
	}
	return found
}

// listensEverywhere reports whether a socket receives from a port on every
// address, according to the lists in /proc/net. A list that is missing counts as
// empty.
func listensEverywhere(proc fs.FS, protocol string, port uint16) bool {
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
			found = found || strings.Trim(address, "0") == "" && at == fmt.Sprintf("%04X", port)
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
