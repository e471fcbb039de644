package legacy

import (
	"net/netip"
	"testing"

	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/config"
)

// FuzzImport imports the text of a properties file: the result must be a valid
// profile.
func FuzzImport(f *testing.F) {
	f.Add("server-address=localhost\nport-secret=portSecret\nports=3\nclient-identifier=com1\nclient-shared-secret=com1_secret\nnonce=0\n")
	f.Fuzz(func(t *testing.T, text string) {
		im := importer{}
		s, err := im.parse("client.properties", []byte(text), clientKeys...)
		if err != nil {
			return
		}
		p, err := im.client(s, nil)
		if err != nil {
			return
		}
		made, err := profileFile("client.properties", p)
		if err != nil {
			return
		}
		if _, err := profile.Parse(made.Name, []byte(made.Text)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// FuzzService imports the text of service.properties: the result must be a valid
// configuration.
func FuzzService(f *testing.F) {
	f.Add(defaults["service.properties"])
	f.Add("use-embedded-webserver=False\nservice-bind=[::1]\nproxy-address=web\nproxy-port=80\n")
	f.Fuzz(func(t *testing.T, text string) {
		im := importer{}
		s, err := im.parse("service.properties", []byte(text))
		if err != nil {
			return
		}
		bind, err := s.host("service-bind", "127.0.0.1")
		if _, parseErr := netip.ParseAddr(bind); err == nil && parseErr != nil {
			return // a name, which would be resolved
		}
		service, err := im.service(s, 10)
		if err != nil {
			return
		}
		made := serverFiles{listen: "::", ports: 3, portSecret: "x", clientsName: config.ClientsName, service: service}
		files, err := made.files("gate.example.org")
		if err != nil {
			return // such as a proxy to itself
		}
		for _, f := range files {
			if f.Name != config.FileName {
				continue
			}
			if c, err := config.Parse(f.Name, []byte(f.Text)); err != nil || len(c.Services) != 1 {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
