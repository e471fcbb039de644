package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/paper"
)

// challengeText is the text of [challenge] and of an operation.
func challengeText(listen string, p challenge.Plan) string {
	encoding := func(name string, e challenge.Encoding) string {
		text := fmt.Sprintf("[challenge.%s]\nscheme = %q\nbase = %d\ndata_bits = %d\n", name, e.Scheme, e.Base, e.DataBits)
		if e.SequenceBits > 0 {
			text += fmt.Sprintf("sequence_bits = %d\n", e.SequenceBits)
		}
		if e.Delay > 0 {
			text += fmt.Sprintf("delay = %q\n", e.Delay)
		}
		return text
	}
	return "listen = " + listen + "\n" + minimal +
		fmt.Sprintf("[challenge]\nports = \"%d-%d\"\nshared_ports = %v\n", p.Ports.First, p.Ports.Last, p.Shared) +
		encoding("request", p.Request) + encoding("response", p.Response) +
		fmt.Sprintf("[[operation]]\nid = %q\nsecret = \"x\"\nservice = \"web\"\n", paper.ID)
}

func parsed(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return Parse("c.toml", []byte(text))
}

// TestPaperRows: the configuration accepts each row of the paper's tables over the
// families that it fits, and rejects the others.
func TestPaperRows(t *testing.T) {
	for _, row := range paper.Rows() {
		p, err := row.Plan(false)
		if err != nil {
			t.Fatal(row, err)
		}
		_, err6 := row.Plan(true)
		four, err := parsed(t, challengeText(`["0.0.0.0"]`, p))
		if err != nil || !four.Challenge.Plan.NoIPv6 || four.Check(Host{}) != nil {
			t.Errorf("%s over IPv4: %v", row, err)
		}
		both, err := parsed(t, challengeText(`["::"]`, p))
		if err != nil {
			t.Errorf("%s on all addresses: %v", row, err)
			continue
		}
		// Over both families, the row may have another plan.
		if err := both.Check(Host{}); err6 != nil && err == nil {
			t.Errorf("%s is accepted over IPv6", row)
		}
		if err := both.Check(Host{NoIPv6: true}); err != nil {
			t.Errorf("%s on a host without IPv6: %v", row, err)
		}
		if p, err := row.Plan(true); err == nil {
			c, err := parsed(t, challengeText(`["::"]`, p))
			if err == nil {
				err = c.Check(Host{})
			}
			if err != nil || c.Challenge.Plan.NoIPv6 {
				t.Errorf("%s over both families: %v", row, err)
			}
		}
	}
}

// TestUnfit: what a configuration that has no room for its messages should change.
func TestUnfit(t *testing.T) {
	ranges := func(bits int, request, response uint16, last uint16) challenge.Plan {
		return challenge.Plan{
			Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: request, DataBits: bits},
			Response: challenge.Encoding{Scheme: challenge.Ranges, Base: response, DataBits: bits},
			Ports:    challenge.Ports{First: request, Last: last},
		}
	}
	narrow := ranges(4, 2000, 2000, 4000)
	narrow.Shared = true
	for name, row := range map[string]struct {
		text       string
		host       Host
		want, hint string
	}{
		"overlap, with room": {
			challengeText(`["0.0.0.0"]`, ranges(8, 2000, 2000, 30000)), Host{},
			"over IPv4: the ports of requests, 2000 to 5583, overlap", "set base = 5584 in [challenge.response], or shared_ports = true",
		},
		"overlap, without room": {
			challengeText(`["0.0.0.0"]`, ranges(8, 2000, 2000, 9000)), Host{},
			"overlap", "shared_ports = true in [challenge]",
		},
		"too high": {
			challengeText(`["0.0.0.0"]`, ranges(12, 1, 40961, 65535)), Host{},
			"expected ports up to 65535", "to use the same ports for both, shared_ports = true",
		},
		"not watched": {
			challengeText(`["0.0.0.0"]`, ranges(8, 2000, 6000, 9000)), Host{},
			"requires ports 6000 to 11119, but only 2000 to 9000 are watched", "so that they contain 6000-11119",
		},
		"IPv6": {
			challengeText(`["::"]`, ranges(8, 2000, 6000, 20000)), Host{},
			"over IPv6: the ports of requests, 2000 to 8655, overlap", `set listen = ["0.0.0.0"]`,
		},
		"an address of IPv6": {
			challengeText(`["::1", "0.0.0.0"]`, ranges(8, 2000, 6000, 20000)), Host{NoIPv6: true},
			"over IPv6: the ports of requests, 2000 to 8655, overlap", `set listen = ["0.0.0.0"]`,
		},
		"too narrow to share": {
			challengeText(`["0.0.0.0"]`, narrow), Host{},
			"cannot share ports: a response has, on average, up to 1.75 ports", "",
		},
	} {
		c, err := parsed(t, row.text)
		if err == nil {
			err = c.Check(row.host)
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
			continue
		}
		var hinted interface{ Hint() string }
		if hint := errors.As(err, &hinted); row.hint != "" && (!hint || !strings.Contains(hinted.Hint(), row.hint)) {
			t.Errorf("%s: %v, want the hint %q", name, hinted, row.hint)
		}
	}
}

// TestResponseBase: the default of the first port of responses does not depend on the
// operations, nor on the family.
func TestResponseBase(t *testing.T) {
	for text, want := range map[string]uint16{
		"": 25600,
		"[challenge.request]\nscheme = \"sequence\"\nsequence_bits = 5\ndata_bits = 7\nrestart = 20\n": 16384 + 4096,
		"shared_ports = true\n": 16384,
	} {
		c, err := parsed(t, minimal+"[challenge]\n"+text+"[[operation]]\nid = \"0123456789\"\nsecret = \"x\"\nservice = \"web\"\n")
		if err != nil || c.Challenge.Plan.Response.Base != want {
			t.Errorf("%q: %v, want %d, got %+v", text, err, want, c)
		}
	}
}
