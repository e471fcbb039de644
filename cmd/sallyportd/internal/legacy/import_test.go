package legacy

import (
	"testing"

	"sallyport/cmd/internal/profile"
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
