package config

import (
	"strings"
	"testing"
)

const splitText = minimal + "spread = \"all\"\n" + `gateways = ["gateway2"]
` + fleetText + `client_keys = "gateway"
gateways = ["gateway1=gw1.example", "gateway2=gw2.example"]
split = true
`

// TestElsewhere: one configuration is for all servers of a fleet. A server without a service
// keeps its name, rights and times, and nothing that would open.
func TestElsewhere(t *testing.T) {
	c := must(Parse("c.toml", []byte(splitText)))
	s := &c.Services[0]
	if !c.Fleet.Split || !s.Elsewhere() || s.HasPort() || s.Binds() || !s.Shared || s.Policy != s.Original().Policy || s.Original().Listen != "127.0.0.1:8080" {
		t.Errorf("here: %+v", s)
	}
	if s.CarriedBy("gateway1") || !s.CarriedBy("gateway2") || c.ServiceNames()[0] != s.Name || !strings.Contains(s.Describe(), "at other gateways only") {
		t.Errorf("described as %q", s.Describe())
	}
	c = must(Parse("c.toml", []byte(strings.Replace(splitText, `name = "gateway1"`, `name = "gateway2"`, 1))))
	if s := &c.Services[0]; s.Elsewhere() || !s.HasPort() || s.Original() != s {
		t.Errorf("there: %+v", s)
	}
}

// TestSplitRefuses: sequences are split only with a key for each gateway, over several
// gateways, and for a service that opens at all of them; a service is at known gateways.
func TestSplitRefuses(t *testing.T) {
	for _, row := range []struct{ old, new, want string }{
		{`client_keys = "gateway"`, "", `split: expected true or false; true requires client_keys = "gateway"`},
		{`, "gateway2=gw2.example"]`, "]", `gateways: expected a list of names of [fleet] gateways`},
		{`gateways = ["gateway2"]`, "", ""},
		{"spread = \"all\"\ngateways = [\"gateway2\"]", "", `without a service with spread = "all"`},
		{"spread = \"all\"", "", `gateways: expected a list of names`},
		{`gateways = ["gateway2"]`, `gateways = []`, ""},
		{`gateways = ["gateway2"]`, `gateways = ["gateway"]`, `got "gateway" (entry 1)`},
	} {
		text := strings.Replace(splitText, row.old, row.new, 1)
		if text == splitText {
			t.Fatalf("the text does not contain %q", row.old)
		}
		_, err := Parse("c.toml", []byte(text))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.new, err, row.want)
		}
	}
}
