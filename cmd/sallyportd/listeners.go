package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
)

// checkListeners warns of services behind the firewall that name one address,
// where the program that they guard listens at all.
func checkListeners(cfg *config.Config, proc fs.FS) (warnings []string) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Binds() || !s.Host().IsValid() || !listensEverywhere(proc, s.Protocol(), s.Port()) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("service %s guards %s port %d at %s only, where a program listens at all addresses: strangers reach it at the others without a knock: name no address, listen = \":%d\", or have the program listen at that address",
			s.Name, s.Protocol(), s.Port(), s.Host(), s.Port()))
	}
	return warnings
}

// listensEverywhere reports whether a socket takes what comes to a port at any
// address, by what the kernel lists in /proc/net. What is not there is no socket.
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

// procNet is where the kernel lists this network namespace's sockets.
func procNet() fs.FS { return os.DirFS("/proc/self/net") }
