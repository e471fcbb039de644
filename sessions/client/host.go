package client

import (
	"net/netip"
	"strings"
	"unicode"
)

const (
	maxHost = 253 // bytes, of a name (RFC 1035)
	maxZone = 15  // bytes, of an interface's name
)

// ValidHost reports whether a text can be a host's name or address. Profiles
// come from elsewhere, and what they name reaches command lines: so a name is
// letters, digits, and - _ . and does not begin with a dash; and an address has
// a zone only if it is a link-local one, which consists of the same, in ASCII.
func ValidHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == "" || a.IsLinkLocalUnicast() && len(a.Zone()) <= maxZone && !strings.ContainsFunc(a.Zone(), notInZone)
	}
	return s != "" && len(s) <= maxHost && s[0] != '-' && !strings.ContainsFunc(s, notInHost)
}

func notInZone(r rune) bool { return r > unicode.MaxASCII || notInHost(r) }

// A name may be an international one, as it is written: with letters and marks.
func notInHost(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("-_.", r)
}
