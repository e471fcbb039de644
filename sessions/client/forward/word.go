package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The words in place of a port at the server that has no fixed number.
const (
	rotateWord = "rotate" // it rotates
	randomWord = "random" // each exchange opens another one
)

// Word is a forwarded service, as [LOCAL:]PORT of a command line, with /udp behind it
// for a UDP service.
type Word struct {
	Local     netip.Addr // invalid: 127.0.0.1 and ::1
	LocalPort uint16
	Port      uint16 // at the server; 0: Rotates or Random
	Rotates   bool
	Random    bool
	UDP       bool
}

// ParseWord parses [LOCAL:]PORT. PORT is the number of the service's port at the server,
// or "rotate" or "random". LOCAL is a port, an address, or both: 5432, 15432:5432,
// 127.0.0.2:5432, 127.0.0.2:15432:5432, [::1]:5432, localhost:5432. Without an address,
// it is both addresses of the loopback, and so it is with "localhost".
func ParseWord(s string) (Word, error) {
	var w Word
	text, protocol, found := strings.Cut(s, "/")
	if found && protocol != "udp" && protocol != "tcp" {
		return w, fmt.Errorf("expected /udp or /tcp after the port, got %q", s)
	}
	w.UDP = protocol == "udp"
	parts, err := split(text)
	if err != nil {
		return w, fmt.Errorf("%w, got %q", err, s)
	}
	if err := w.setPort(parts[len(parts)-1]); err != nil {
		return w, fmt.Errorf("%w, got %q", err, s)
	}
	w.LocalPort = w.Port
	local := parts[:len(parts)-1]
	if n := len(local); n > 0 && isNumber(local[n-1]) {
		if w.LocalPort, err = parsePort(local[n-1]); err != nil {
			return w, fmt.Errorf("the local port: %w, got %q", err, s)
		}
		local = local[:n-1]
	}
	switch {
	case len(local) > 1:
		return w, fmt.Errorf("expected a local port before the port, got %q", s)
	case len(local) == 1 && local[0] != "localhost":
		if w.Local, err = netip.ParseAddr(local[0]); err != nil {
			return w, fmt.Errorf("expected a local address or \"localhost\" in front, got %q", s)
		}
		w.Local = w.Local.Unmap()
	}
	if w.LocalPort == 0 {
		return w, fmt.Errorf("expected a local port before %q, such as 8080:%[1]s, got %q", parts[len(parts)-1], s)
	}
	return w, nil
}

// split splits at colons that are not within brackets.
func split(s string) (parts []string, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		address, rest, ok := strings.Cut(rest, "]:")
		if a, err := netip.ParseAddr(address); !ok || err != nil || !a.Is6() {
			return nil, errors.New("expected an IPv6 address in brackets and a port")
		}
		parts, s = []string{address}, rest
	}
	parts = append(parts, strings.Split(s, ":")...)
	if len(parts) > 3 {
		return nil, errors.New("expected PORT, LOCAL:PORT or ADDRESS:LOCALPORT:PORT, with an IPv6 address in brackets")
	}
	return parts, nil
}

func (w *Word) setPort(s string) (err error) {
	switch s {
	case rotateWord:
		w.Rotates = true
	case randomWord:
		if w.UDP {
			return errors.New("expected no /udp with a random port, which is a TCP port")
		}
		w.Random = true
	default:
		if w.Port, err = parsePort(s); err != nil {
			return fmt.Errorf("the port at the server: %w", err)
		}
	}
	return nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("expected a number from 1 to 65535")
	}
	return uint16(n), nil
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// String returns the text that ParseWord parses.
func (w Word) String() string {
	text := strconv.Itoa(int(w.LocalPort)) + ":" + w.remote()
	if w.Local.IsValid() {
		text = net.JoinHostPort(w.Local.String(), strconv.Itoa(int(w.LocalPort))) + ":" + w.remote()
	} else if w.LocalPort == w.Port {
		text = w.remote()
	}
	return text + w.suffix()
}

// Service returns the service at the server, as client.ParseService reads it; of a
// random port nothing.
func (w Word) Service() string {
	if w.Random {
		return ""
	}
	return ":" + w.remote() + w.suffix()
}

// Name is the port at the server, as a socket unit names it (FileDescriptorName).
func (w Word) Name() string { return w.remote() + w.suffix() }

func (w Word) remote() string {
	switch {
	case w.Rotates:
		return rotateWord
	case w.Random:
		return randomWord
	}
	return strconv.Itoa(int(w.Port))
}

func (w Word) suffix() string {
	if w.UDP {
		return "/udp"
	}
	return ""
}

// Addresses returns the local addresses.
func (w Word) Addresses() []netip.AddrPort {
	if w.Local.IsValid() {
		return []netip.AddrPort{netip.AddrPortFrom(w.Local, w.LocalPort)}
	}
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), w.LocalPort),
		netip.AddrPortFrom(netip.IPv6Loopback(), w.LocalPort),
	}
}

// CheckWords returns an error if two words have a local address and port in common.
func CheckWords(words []Word) error {
	type endpoint struct {
		at  netip.AddrPort
		udp bool
	}
	seen := map[endpoint]Word{}
	for _, w := range words {
		for _, at := range w.Addresses() {
			if before, ok := seen[endpoint{at, w.UDP}]; ok {
				return fmt.Errorf("%s and %s have the same local port: name another one, such as %d:%s", before, w, w.LocalPort+1, w.Name())
			}
			seen[endpoint{at, w.UDP}] = w
		}
	}
	return nil
}
