package legacy

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"

	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// clientKeys are the keys of client.properties (paper, Listing 1).
var clientKeys = []string{
	"server-address", "port-secret", "ports", "client-identifier", "client-shared-secret", "nonce",
}

// client returns a profile. The service is that of service.properties, which may be nil.
func (im *importer) client(s, service *source) (p client.Profile, err error) {
	p.Generator = schedule.Java
	if p.Server, err = s.host("server-address", "localhost"); err != nil {
		return p, err
	}
	if p.PortSecret, err = im.secret(s, "port-secret"); err != nil {
		return p, err
	}
	if p.Ports, err = s.number("ports", "3", 1, schedule.MaxPorts); err != nil {
		return p, err
	}
	id, err := s.required("client-identifier", "")
	if err != nil {
		return p, err
	}
	if p.Identifier, err = wire.ParseIdentifier(id); err != nil {
		return p, s.wrong("client-identifier", "", "%w", err)
	}
	secret, err := im.secret(s, "client-shared-secret")
	if err != nil {
		return p, err
	}
	p.Secret = []byte(secret)
	nonce, err := strconv.ParseUint(s.text("nonce", "0"), 10, 32)
	if err != nil {
		return p, s.wrong("nonce", "0", "expected a whole number from 0 to 4294967295, got %s", s.found("nonce"))
	}
	if p.FirstNonce = uint32(nonce); nonce > 0 && nonce < 1<<32-1 {
		p.FirstNonce++ // unused, whether the file names the last nonce or the next one
	}
	im.checkNonces(p.Identifier, uint32(nonce), p.Ports)
	if w := secrets.Weakness(secret); w != "" {
		im.warn("the secret of client %s is weak, %s from one sniffed knock", p.Identifier, w)
	}
	p.Service, err = im.clientService(service, p.Server)
	return p, err
}

// checkNonces warns if a client has not enough nonces left for a sequence.
func (im *importer) checkNonces(id wire.Identifier, used uint32, ports int) {
	if used > math.MaxUint32-uint32(ports) {
		im.warn("client %s has used up the nonces of its secret: replace the secret on both sides", id)
	}
}

// clientService returns the service that the client watches, as "client add" writes it:
// the port, at the address of the server. Empty: none.
func (im *importer) clientService(s *source, server string) (string, error) {
	if s == nil {
		im.warn("there is no service.properties beside client.properties, so the profile names no service to watch: " +
			"\"sallyport knock\" then only sends; add service = \":PORT\" to the profile")
		return "", nil
	}
	port, err := s.servicePort()
	if err != nil {
		return "", err
	}
	bind, err := s.host("service-bind", "127.0.0.1")
	if err != nil {
		return "", err
	}
	if isLocal(bind) && !isLocal(server) {
		im.warn("%s: service-bind=%s: clients on other hosts cannot reach this service, and the client that watches it at %s reports that it does not open; "+
			"set listen of the service to an address that they can reach, or remove service from the profile",
			s.path, bind, server)
	}
	return client.Service{Port: uint16(port)}.String(), nil
}

// isLocal reports whether a host is this one, at an address that other hosts cannot reach.
func isLocal(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// profileFile returns the file of a profile. It is valid.
func profileFile(from string, p client.Profile) (f File, err error) {
	text, err := profilefile.Format(p)
	if err != nil {
		return f, fmt.Errorf("write the profile: %w", err)
	}
	const name = "profile.toml"
	if _, err := profile.Parse(name, text); err != nil {
		return f, fmt.Errorf("%s: the profile that is made of it is invalid: %w", from, err)
	}
	return File{name, string(text)}, nil
}
