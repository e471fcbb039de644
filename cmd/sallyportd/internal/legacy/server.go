package legacy

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
	"sallyport/verify/schedule"
)

// serverFiles is the content of a server's files.
type serverFiles struct {
	listen      string
	ports       int
	portSecret  string
	clientsName string
	clientsText string
	clients     clients.List
	service     string // the [[service]] table
	source      string // the path of server.properties
	dir         string // that it is in
}

// ownClientsName is the name of our clients file if the old one has our usual name, and
// is in the directory of our files.
const ownClientsName = "sallyport-clients.txt"

func (im *importer) server(s, service *source) (made serverFiles, err error) {
	made.source, made.dir = s.path, im.dir
	if made.portSecret, err = im.secret(s, "port-secret"); err != nil {
		return made, err
	}
	if made.ports, err = s.number("ports", "3", 1, schedule.MaxPorts); err != nil {
		return made, err
	}
	timeout, err := s.number("open-timeout", "10", 1, int(maxOpen/time.Second))
	if err != nil {
		return made, err
	}
	if made.listen, err = s.host("bind-address", "0.0.0.0"); err != nil {
		return made, err
	}
	if _, err := netip.ParseAddr(made.listen); err != nil {
		im.warn("%s: bind-address: the server resolves the host name %s when it starts, as the first implementation did", s.path, made.listen)
	}
	if err := im.clients(s, &made); err != nil {
		return made, err
	}
	if made.service, err = im.service(service, timeout); err != nil {
		return made, err
	}
	if w := secrets.Weakness(made.portSecret); w != "" {
		im.warn("the port secret is weak, %s", w)
	}
	return made, nil
}

// clients reads the file of trusted clients, which has our format.
func (im *importer) clients(s *source, made *serverFiles) error {
	path, err := s.required("trusted-clients-path", "trusted_clients.txt")
	if err != nil {
		return err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(im.dir, path)
	}
	text, err := durable.ReadFile(path)
	if err != nil {
		return hint.With(fmt.Errorf("%s: trusted-clients-path: read the trusted clients: %w", s.path, err),
			"correct the path; a relative one begins at the directory of server.properties")
	}
	if text, err = textfile.Decode(path, text); err != nil {
		return err
	}
	lines, err := clients.Parse(path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	made.clients = clients.Of(lines)
	for _, c := range made.clients {
		if w := secrets.Weakness(string(c.Secret)); w != "" {
			im.warn("the secret of client %s is weak, %s from one sniffed knock", c.Identifier, w)
		}
		im.checkNonces(c.Identifier, c.HighestNonce, made.ports)
	}
	made.clientsName, made.clientsText = config.ClientsName, strings.TrimRight(string(text), "\n")+"\n"
	if sameFile(path, filepath.Join(im.out, config.ClientsName)) {
		made.clientsName = ownClientsName
		im.warn("%s stays as it is, for the first implementation; the server's clients are in %s", path, ownClientsName)
	}
	return nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// files returns the server's files. Address is the one by which clients reach the
// server, if it is known. The configuration is valid.
func (made serverFiles) files(address string) ([]File, error) {
	server := ""
	if address != "" && !isLocal(address) {
		server = fmt.Sprintf("server = %q\n", address)
	}
	text := fmt.Sprintf(`# Made from the files of the protocol's first implementation.
# The file that "sallyportd init" writes explains every key.
version = 1

%slisten = [%q]
ports = %d
# The generator of the first implementation. When no client of it is left, change
# this to "algorithm1", on both sides.
generator = "java"
port_secret_file = %q
clients = %q

%s`, server, made.listen, made.ports, config.PortSecretName, made.clientsName, made.service)
	c, err := config.Parse(config.FileName, []byte(text))
	if err != nil {
		return nil, hint.With(fmt.Errorf("%s: the configuration that is made of server.properties and service.properties is invalid: %w", made.dir, err),
			"correct the value in the file that has it")
	}
	if err := checkReach(made.source, made.listen, &c.Services[0]); err != nil {
		return nil, err
	}
	for _, client := range made.clients {
		if err := client.CheckServices(c.ServiceNames()); err != nil {
			return nil, hint.With(fmt.Errorf("%s: trusted-clients-path: client %s: %w", made.source, client.Identifier, err),
				"remove services= from the line of the client, or correct the name")
		}
	}
	return []File{{config.PortSecretName, made.portSecret + "\n"}, {made.clientsName, made.clientsText}, {config.FileName, text}}, nil
}

// compare warns if the client of the same directory cannot open anything at the server.
func (im *importer) compare(p client.Profile, made serverFiles) {
	const differs = "client.properties and server.properties have different values of %s: the server will not accept this client's knocks"
	if p.PortSecret != made.portSecret {
		im.warn(differs, "port-secret")
	}
	if p.Ports != made.ports {
		im.warn(differs, "ports")
	}
	known := "the trusted clients lack client %s of client.properties: the server will not accept its knocks"
	for _, c := range made.clients {
		if c.Identifier == p.Identifier {
			known = ""
			if !bytes.Equal(c.Secret, p.Secret) {
				known = "client %s has one secret in client.properties, and another among the trusted clients: the server will not accept its knocks"
			}
		}
	}
	if known != "" {
		im.warn(known, p.Identifier)
	}
}
