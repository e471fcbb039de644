// Package legacy converts the files of the protocol's first implementation (paper,
// Listings 1 to 4) into our files.
package legacy

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/magiconair/properties"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// clientKeys are the keys of client.properties (paper, Listing 1).
var clientKeys = []string{
	"server-address", "port-secret", "ports", "client-identifier", "client-shared-secret", "nonce",
}

// File is a file to write. Name has no directory.
type File struct{ Name, Text string }

// Read reads the files in dir and returns our files, with warnings for their owner.
func Read(dir string) (files []File, warnings []string, err error) {
	im := importer{dir: dir}
	files, err = im.read()
	return files, im.warnings, err
}

// importer reads one directory of the first implementation.
type importer struct {
	dir      string
	warnings []string
}

func (im *importer) warn(format string, args ...any) {
	im.warnings = append(im.warnings, fmt.Sprintf(format, args...))
}

// read returns the converted files.
func (im *importer) read() (files []File, err error) {
	server, err := im.open("server.properties",
		"bind-address", "port-secret", "ports", "trusted-clients-path", "open-timeout")
	if err != nil {
		return nil, err
	}
	if server != nil {
		if files, err = im.server(server); err != nil {
			return nil, err
		}
	}
	clientFile, err := im.open("client.properties", clientKeys...)
	if err != nil {
		return nil, err
	}
	if clientFile != nil {
		f, err := im.client(clientFile)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, hint.With(fmt.Errorf("%s: expected server.properties or client.properties, found neither", im.dir),
			"give the directory with the files of the first implementation")
	}
	return files, nil
}

func (im *importer) server(s *source) ([]File, error) {
	portSecret, err := im.secret(s, "port-secret")
	if err != nil {
		return nil, err
	}
	ports, err := s.number("ports", "3", 1, schedule.MaxPorts)
	if err != nil {
		return nil, err
	}
	timeout, err := s.number("open-timeout", "10", 1, 1000*3600)
	if err != nil {
		return nil, err
	}
	listen, err := im.address(s, "bind-address", "0.0.0.0")
	if err != nil {
		return nil, err
	}
	list, err := im.clients(s.text("trusted-clients-path", "trusted_clients.txt"))
	if err != nil {
		return nil, err
	}
	service, err := im.service(timeout)
	if err != nil {
		return nil, err
	}
	if w := secrets.Weakness(portSecret); w != "" {
		im.warn("the port secret is weak, %s", w)
	}
	text := fmt.Sprintf(`# Made from the files of the protocol's first implementation.
# The file that "sallyportd init" writes explains every key.
version = 1

listen = [%q]
ports = %d
# The generator of the first implementation. When no client of it is left, change
# this to "algorithm1", on both sides.
generator = "java"
port_secret_file = %q
clients = %q

%s`, listen, ports, config.PortSecretName, config.ClientsName, service)
	return []File{{config.PortSecretName, portSecret + "\n"}, {config.ClientsName, list}, {config.FileName, text}}, nil
}

// address returns an IP address, or resolves a host name.
func (im *importer) address(s *source, key, byDefault string) (string, error) {
	text := s.text(key, byDefault)
	if a, err := netip.ParseAddr(text); err == nil {
		return a.String(), nil
	}
	found, err := net.ResolveIPAddr("ip", text)
	if err != nil {
		return "", fmt.Errorf("%s: %s: expected an IP address, or a host name that this host can resolve, got %q",
			s.path, key, text)
	}
	im.warn("%s: %s: %s is replaced by its present address %s", s.path, key, text, found)
	return found.String(), nil
}

// clients reads the file of trusted clients, which has our format.
func (im *importer) clients(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(im.dir, path)
	}
	text, err := durable.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the trusted clients: %w", err)
	}
	if text, err = textfile.Decode(path, text); err != nil {
		return "", err
	}
	lines, err := clients.Parse(path, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	for _, c := range clients.Of(lines) {
		if w := secrets.Weakness(string(c.Secret)); w != "" {
			im.warn("the secret of client %s is weak, %s from one sniffed knock", c.Identifier, w)
		}
	}
	return strings.TrimRight(string(text), "\n") + "\n", nil
}

// service returns the text of the [[service]] table.
func (im *importer) service(timeout int) (string, error) {
	s, err := im.open("service.properties",
		"use-embedded-webserver", "service-bind", "service-port", "proxy-address", "proxy-port")
	if err != nil {
		return "", err
	}
	if s == nil {
		im.warn("there is no service.properties: " +
			"the service is the embedded web server at 127.0.0.1:8080, the default of the first implementation")
		s = &source{path: filepath.Join(im.dir, "service.properties"), p: properties.NewProperties()}
	}
	bind, err := im.address(s, "service-bind", "127.0.0.1")
	if err != nil {
		return "", err
	}
	port, err := s.number("service-port", "8080", 1, 65535)
	if err != nil {
		return "", err
	}
	listen := net.JoinHostPort(bind, strconv.Itoa(port))
	embedded, err := strconv.ParseBool(s.text("use-embedded-webserver", "true"))
	if err != nil {
		return "", fmt.Errorf("%s: use-embedded-webserver: expected true or false", s.path)
	}
	kind, name := "type = \"web\"", "web"
	if !embedded {
		host, err := s.required("proxy-address")
		if err != nil {
			return "", err
		}
		port, err := s.number("proxy-port", "", 1, 65535)
		if err != nil {
			return "", err
		}
		kind = fmt.Sprintf("type = \"proxy\"\nupstream = %q", net.JoinHostPort(host, strconv.Itoa(port)))
		name = "proxy"
	}
	im.warn("the first implementation opened for all addresses; " +
		"now the service opens only for the address that knocked, unless you set open_to = \"anyone\"")
	return fmt.Sprintf(`[[service]]
name = %q
%s
listen = %q
open_for = "%ds"
# The first implementation opened for all addresses:
# open_to = "anyone"
`, name, kind, listen, timeout), nil
}

// client returns a profile.
func (im *importer) client(s *source) (f File, err error) {
	p := client.Profile{Generator: schedule.Java, Server: s.text("server-address", "localhost")}
	if p.PortSecret, err = im.secret(s, "port-secret"); err != nil {
		return f, err
	}
	if p.Ports, err = s.number("ports", "3", 1, schedule.MaxPorts); err != nil {
		return f, err
	}
	id, err := s.required("client-identifier")
	if err != nil {
		return f, err
	}
	if p.Identifier, err = wire.ParseIdentifier(id); err != nil {
		return f, fmt.Errorf("%s: client-identifier: %w", s.path, err)
	}
	secret, err := im.secret(s, "client-shared-secret")
	if err != nil {
		return f, err
	}
	p.Secret = []byte(secret)
	nonce, err := strconv.ParseUint(s.text("nonce", "0"), 10, 32)
	if err != nil {
		return f, fmt.Errorf("%s: nonce: expected a whole number from 0 to 4294967295", s.path)
	}
	if p.FirstNonce = uint32(nonce); nonce > 0 && nonce < 1<<32-1 {
		p.FirstNonce++ // unused, whether the file names the last nonce or the next one
	}
	if w := secrets.Weakness(secret); w != "" {
		im.warn("the secret of client %s is weak, %s from one sniffed knock", p.Identifier, w)
	}
	im.warn("client.properties does not name a service to watch: " +
		"if you add service = \"host:port\" to the profile, \"sallyport knock\" checks whether it opens")
	text, err := profile.Format(p)
	if err != nil {
		return f, fmt.Errorf("write the profile: %w", err)
	}
	name := "profile.toml"
	if _, err := profile.Parse(name, text); err != nil {
		return f, fmt.Errorf("%s: the profile made of it is invalid: %w", s.path, err)
	}
	return File{name, string(text)}, nil
}
