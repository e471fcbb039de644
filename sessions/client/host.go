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

// ValidHost reports whether s is a valid host name or address. Profiles come from
// other hosts, and their names become part of command lines. Therefore a name has
// only letters, digits, and - _ . and does not begin with a dash. Only a link-local
// address has a zone, which has the same characters, in ASCII. A name whose last label
// is a number, such as 10.0.0.300, is a mistyped address (RFC 1123, section 2.1).
func ValidHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		validZone := len(a.Zone()) <= maxZone && !strings.ContainsFunc(a.Zone(), notInZone)
		return a.Zone() == "" || a.IsLinkLocalUnicast() && validZone
	}
	return s != "" && len(s) <= maxHost && s[0] != '-' && !strings.ContainsFunc(s, notInHost) && !endsInNumber(s)
}

func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	label := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(label, "0123456789") == ""
}

func notInZone(r rune) bool { return r > unicode.MaxASCII || notInHost(r) }

// Names may be internationalised, in Unicode: with letters and marks.
func notInHost(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("-_.", r)
}
