package client

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/sessions/durable"
)

// The file of remembered addresses is beside the nonce file. Of each server it has the
// addresses at which a service answered last, the server of the latest new one first. Nothing depends on it: the client forgets lines of another form.
//
//	sallyport-addresses 1
//	gate.example 203.0.113.5
//	gate.example 2001:db8::5
const (
	addressesHeader = "sallyport-addresses 1"
	addressesSuffix = ".addresses"
	// maxRemembered is how many lines the file has at most, after the first: each device
	// has few names for the servers of a client.
	maxRemembered = 16
	// maxAddressLine is the longest line: a name, a blank, and an address with a zone.
	maxAddressLine = maxHost + 64
	maxAddressFile = (maxRemembered + 1) * maxAddressLine
)

// remembered is a line of the file.
type remembered struct {
	server  string
	address netip.Addr
}

// rememberAddresses records that services of a server answered at these addresses. If one
// of them is new, they take the place of all earlier ones of the server, of both families:
// neither a server that moved, nor an attacker who controlled its name for a moment, must
// leave an address there. Without a new one, it does not write.
func (f NonceFile) rememberAddresses(ctx context.Context, server string, worked ...netip.Addr) error {
	if _, err := netip.ParseAddr(server); err == nil || f.Path == "" || !ValidHost(server) {
		return nil // an address needs no resolver
	}
	if !f.hasNew(server, worked) {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	lock, err := durable.TakeLock(ctx, f.Path+".lock", f.Path, lockRetry)
	if err != nil {
		return err
	}
	defer lock.Close()
	text, writable := readMemory(f.Path+addressesSuffix, maxAddressFile)
	if !writable {
		return nil
	}
	var after []remembered
	for _, a := range worked {
		r := remembered{server, a.Unmap()}
		if WhyNotServer(server, r.address) == "" && !slices.Contains(after, r) {
			after = append(after, r)
		}
	}
	for _, r := range parseAddresses(text) {
		if r.server != server && len(after) < maxRemembered {
			after = append(after, r)
		}
	}
	return durable.WriteFile(f.Path+addressesSuffix, formatAddresses(after), 0o600)
}

// hasNew reports whether an address of a server is not remembered.
func (f NonceFile) hasNew(server string, worked []netip.Addr) bool {
	before := f.readAddresses()
	return slices.ContainsFunc(worked, func(a netip.Addr) bool {
		a = a.Unmap()
		return WhyNotServer(server, a) == "" && !slices.Contains(before, remembered{server, a})
	})
}

// rememberedAddresses returns the addresses at which services of the server have
// answered; none, if that is not known.
func (f NonceFile) rememberedAddresses(server string) (all []netip.Addr) {
	for _, r := range f.readAddresses() {
		if r.server == server {
			all = append(all, r.address)
		}
	}
	return all
}

func (f NonceFile) readAddresses() []remembered {
	if f.Path == "" {
		return nil
	}
	text, _ := readMemory(f.Path+addressesSuffix, maxAddressFile)
	return parseAddresses(text)
}

// parseAddresses returns the valid lines of the file, once each.
func parseAddresses(text string) (all []remembered) {
	header, rest, _ := strings.Cut(text, "\n")
	if header != addressesHeader {
		return nil
	}
	for line := range strings.Lines(rest) {
		line, ended := strings.CutSuffix(line, "\n")
		server, address, _ := strings.Cut(line, " ")
		a, err := netip.ParseAddr(address)
		r := remembered{server, a}
		if !ended || err != nil || !ValidHost(server) || WhyNotServer(server, a) != "" || slices.Contains(all, r) {
			continue
		}
		if all = append(all, r); len(all) == maxRemembered {
			break
		}
	}
	return all
}

func formatAddresses(all []remembered) []byte {
	text := addressesHeader + "\n"
	for _, r := range all {
		text += r.server + " " + r.address.String() + "\n"
	}
	return []byte(text)
}
