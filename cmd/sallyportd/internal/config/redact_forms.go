package config

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sallyport/sessions/durations"
)

// The forms of texts that Redact copies.
const (
	isPath    = "path"    // of something that exists: a secret in place of its path does not
	isAddress = "address" // numeric, with a port or range of ports, or a prefix
	isPorts   = "ports"   // a range
	isWord    = "word"    // a name
	isKind    = "kind"    // a type of services
	isScheme  = "scheme"  // of an encoding
)

// shapes are the keys with other texts that Redact copies. A key that is not here, and
// whose declaration does not restrict it, may be a secret.
var shapes = map[string]string{
	"listen": isAddress, "metrics_listen": isAddress, "service.listen": isAddress, "service.upstream": isAddress, "service.allow": isAddress,
	"challenge.http.listen": isAddress, "challenge.http.trusted_proxies": isAddress, "challenge.dns.listen": isAddress, "operation.from": isAddress,
	"port_secret_file": isPath, "port_secret_previous_file": isPath, "clients": isPath, "state_dir": isPath, "admin_socket": isPath, "firewall_socket": isPath,
	"service.root": isPath, "service.tls_cert": isPath, "service.tls_key": isPath, "service.program_dir": isPath,
	"fleet.ca": isPath, "fleet.certificate": isPath, "fleet.key": isPath, "fleet.password_file": isPath, "fleet.clients_key_file": isPath, "fleet.relay_key_file": isPath,
	"challenge.host_key_file": isPath, "challenge.http.tls_cert": isPath, "challenge.http.tls_key": isPath, "challenge.http.root": isPath, "challenge.http.pages": isPath,
	"operation.secret_file": isPath, "operation.keys_file": isPath,
	"service.rotate_ports": isPorts, "challenge.ports": isPorts,
	"user": isWord, "shield_interfaces": isWord, "service.name": isWord, "service.jump": isWord, "service.program_user": isWord, "service.command_user": isWord,
	"fleet.name": isWord, "challenge.http.proxy_user": isWord, "operation.id": isWord, "operation.service": isWord, "operation.client": isWord,
	"service.type": isKind, "challenge.request.scheme": isScheme, "challenge.response.scheme": isScheme,
}

// copies reports whether a text is copied.
func (r *redaction) copies(text string, field reflect.StructField, key string) bool {
	if kind := field.Type.Kind(); kind != reflect.String && kind != reflect.Interface {
		return false
	}
	if text == field.Tag.Get("or") || field.Tag.Get("oneof") != "" && contains(field.Tag.Get("oneof"), "|", text) {
		return true
	}
	if ranges := field.Tag.Get("range"); ranges != "" {
		d, err := durations.Parse(text)
		return err == nil && inRange(ranges, int64(d))
	}
	switch shapes[key] {
	case isPath:
		return r.exists(text) || key == "clients" && text == "fleet"
	case isAddress:
		return addressForm(text)
	case isPorts:
		return portsForm.MatchString(text)
	case isKind:
		return slices.Contains([]string{"web", "proxy", "firewall", "process", "command"}, text)
	case isScheme:
		return slices.Contains([]string{"sequence", "differences", "ranges", "delays"}, text)
	case isWord:
		if !wordForm.MatchString(text) || randomForm(text) {
			return false
		}
		switch key {
		case "operation.id":
			r.Operations = append(r.Operations, text)
		case "operation.client":
			r.Clients = append(r.Clients, text)
		}
		return true
	}
	return key == "service.on_close" && (text == "keep" || text == "cut")
}

// exists reports whether a path leads to something, and keeps it if that is a file.
func (r *redaction) exists(path string) bool {
	at := resolveSecret(r.dir, path)
	if unsetFault(at) != nil {
		return false
	}
	info, err := os.Stat(at)
	if err == nil && info.Mode().IsRegular() {
		r.Files = append(r.Files, at)
	}
	return err == nil
}

var (
	portsForm = regexp.MustCompile(`^\d{1,5}(-\d{1,5})?$`)
	wordForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	portTail  = regexp.MustCompile(`:\d{1,5}(-\d{1,5})?$`)
)

// randomForm reports whether a word may be a random secret: at least 12 characters with
// small and capital letters and digits, or 16 without a separator and with a digit.
func randomForm(word string) bool {
	if len(word) >= 12 && strings.ContainsAny(word, digits) && strings.ToLower(word) != word && strings.ToUpper(word) != word {
		return true
	}
	for part := range strings.FieldsFuncSeq(word, func(c rune) bool { return strings.ContainsRune("._-", c) }) {
		if len(part) >= 16 && strings.ContainsAny(part, digits) {
			return true
		}
	}
	return len(word) > 40
}

const digits = "0123456789"

// addressForm reports whether a text is a numeric address or network, with or without a
// port or a range of ports, or only these.
func addressForm(text string) bool {
	host := portTail.ReplaceAllString(text, "")
	if host == "" || host == "[::]" {
		return text != ""
	}
	if _, err := netip.ParsePrefix(host); err == nil {
		return true
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		host = strings.TrimSuffix(inner, "]")
	} else if _, err := netip.ParseAddr(text); err == nil {
		host = text // of IPv6 without a port
	}
	a, err := netip.ParseAddr(host)
	return err == nil && len(a.Zone()) < 16
}
