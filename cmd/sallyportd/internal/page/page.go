package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

var (
	//go:embed parts/page.html
	document string
	//go:embed parts/page.css
	style string
	//go:embed parts/protocol.js
	protocol string
	//go:embed parts/http.js
	requests string
	//go:embed parts/result.js
	result string
	//go:embed parts/page.js
	behaviour string
)

// Make makes the page of a plan, for a passphrase of Passphrase.
func Make(p Plan, passphrase string) ([]byte, error) { return makePage(p, passphrase, Rounds) }

func makePage(p Plan, passphrase string, rounds int) ([]byte, error) {
	server, host, err := origin(p.URL)
	if err != nil {
		return nil, err
	}
	plain, reach, err := p.encode(host)
	if err != nil {
		return nil, err
	}
	salt, sealed, err := seal(plain, passphrase, server, rounds)
	if err != nil {
		return nil, err
	}
	// A page for one use is for a borrowed computer, whose browser should not keep the
	// passphrase. Browsers ignore "off" for passwords.
	autocomplete := "current-password"
	if p.Uses == 1 {
		autocomplete = "one-time-code"
	}
	script := protocol + requests + result + behaviour
	policy := strings.Join([]string{
		"default-src 'none'", "script-src " + hashOf(script), "style-src " + hashOf(style), "img-src data:",
		"connect-src " + strings.Join(append([]string{server}, reach...), " "),
		"base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
	}, "; ")
	return []byte(strings.NewReplacer(
		"{{policy}}", policy, "{{style}}", style, "{{script}}", script,
		"{{server}}", html.EscapeString(server), "{{host}}", html.EscapeString(strings.TrimPrefix(server, "https://")),
		"{{salt}}", salt, "{{rounds}}", strconv.Itoa(rounds), "{{sealed}}", sealed, "{{autocomplete}}", autocomplete,
	).Replace(document)), nil
}

// Origin returns the origin of a URL that a Plan may have, without a slash at its end.
func Origin(url string) (string, error) {
	server, _, err := origin(url)
	return server, err
}

// hashOf is the source of a content policy for a text.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// origin returns a URL as the origin of a policy, and its host as PID_B is made of it.
func origin(text string) (server, host string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", "", errors.New("expected a URL, such as https://www.example.org")
	}
	host = strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	a, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && a.IsLoopback()
	switch {
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback):
		return "", "", fmt.Errorf("got %q, expected a URL that begins with https://", text)
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", "", fmt.Errorf("got %q, expected a URL without a user, path, query or fragment", text)
	case !validHost(host):
		return "", "", fmt.Errorf("got %q, expected a host of ASCII letters, digits and hyphens, or an IPv4 address", text)
	}
	server = u.Scheme + "://" + host
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", fmt.Errorf("got %q, expected a port from 1 to 65535", text)
		}
		server += ":" + port
	}
	return server, host, nil
}

// validHost reports whether a content policy can name a host: it cannot name IPv6
// addresses.
func validHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	})
}
