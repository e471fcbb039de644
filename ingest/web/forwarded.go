package web

import "strings"

// statesAddress reports whether a header, by its canonical name, is one in which proxies
// and CDNs write the address of their client, or how it reached them: X-Forwarded-For and
// all others with "Forwarded", and names that end in -IP, such as X-Real-IP, CF-Connecting-IP,
// True-Client-IP and Fastly-Client-IP. A site behind such a server may trust them. nginx
// and Caddy pass on those that they do not set; but a site that had another server before
// it trusts those of that server. A name with _ is the same to
// programs that get headers as variables (CGI, RFC 3875).
func statesAddress(name string) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	for word := range strings.SplitSeq(name, "-") {
		if word == "forwarded" {
			return true
		}
	}
	for _, end := range []string{"-ip", "-ipv4", "-ipv6", "-clientip", "remote-addr", "remote-address", "remoteip", "-external-address"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return name == "client-ip" || name == "x-real-port"
}
