package diag

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// addresses replaces addresses that are routed in the Internet by pseudonyms. Others, such
// as 10.0.0.1 and ::1, exist in many networks: they stay, since they explain faults.
type addresses struct{ names map[netip.Addr]string }

var (
	form4 = regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}`)
	// form6 also matches other texts, such as times, which are no addresses.
	form6 = regexp.MustCompile(`[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*`)
)

func (a *addresses) replace(text string) string {
	text = form6.ReplaceAllStringFunc(text, func(found string) string {
		for begin := range found {
			if begin > 0 && found[begin-1] != ':' && found[begin-1] != '.' {
				continue
			}
			for end := len(found); end > begin; end-- {
				if end < len(found) && found[end] != ':' && found[end] != '.' {
					continue
				}
				if strings.Count(found[begin:end], ":") < 2 {
					break
				}
				if addr, err := netip.ParseAddr(found[begin:end]); err == nil {
					return found[:begin] + a.name(addr, found[begin:end]) + found[end:]
				}
			}
		}
		return found
	})
	return form4.ReplaceAllStringFunc(text, func(found string) string {
		addr, err := netip.ParseAddr(found)
		if err != nil {
			return found
		}
		return a.name(addr, found)
	})
}

// shared are the addresses of carriers' translators, which many networks have.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// name returns the pseudonym of an address, or the text itself if it has none.
func (a *addresses) name(addr netip.Addr, text string) string {
	plain := addr.Unmap().WithZone("")
	if !plain.IsGlobalUnicast() || plain.IsPrivate() || shared.Contains(plain) {
		return text
	}
	if a.names == nil {
		a.names = map[netip.Addr]string{}
	}
	if a.names[plain] == "" {
		kind := "ipv6-"
		if plain.Is4() {
			kind = "ipv4-"
		}
		a.names[plain] = kind + strconv.Itoa(len(a.names)+1)
	}
	return a.names[plain]
}
