package client

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func parseAll(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestRememberAddresses(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "state", "nonce")}
	for _, step := range []struct {
		server string
		worked []netip.Addr
		want   string
	}{
		{"gate.example", parseAll("203.0.113.5", "2001:db8::5"), "[203.0.113.5 2001:db8::5]"},
		{"gate.example", parseAll("203.0.113.5"), "[203.0.113.5 2001:db8::5]"},
		{"gate.example", parseAll("203.0.113.6"), "[203.0.113.6]"},        // it moved
		{"gate.example", parseAll("::ffff:203.0.113.6"), "[203.0.113.6]"}, // the same
		{"other.example", parseAll("192.0.2.1"), "[192.0.2.1]"},
		{"gate.example", nil, "[203.0.113.6]"},
		{"gate.example", parseAll("0.0.0.0", "224.0.0.1", "127.0.0.1", "::1"), "[203.0.113.6]"},
		{"gate.example", make([]netip.Addr, 1), "[203.0.113.6]"},
		// An attacker controls the name for a moment, over a family that the server lacks.
		{"gate.example", parseAll("2001:db8:bad::1"), "[2001:db8:bad::1]"},
		{"gate.example", parseAll("203.0.113.6"), "[203.0.113.6]"},
		{"localhost", parseAll("::1"), "[::1]"},
		{"203.0.113.5", parseAll("203.0.113.5"), "[]"},
		{"", parseAll("203.0.113.5"), "[]"},
	} {
		if err := f.rememberAddresses(t.Context(), step.server, step.worked...); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.rememberedAddresses(step.server)); got != step.want {
			t.Errorf("after %v of %s: %s", step.worked, step.server, got)
		}
	}
	info, err := os.Stat(f.Path + ".addresses")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(f.Path); err == nil {
		t.Error("a nonce file was made")
	}
}

// TestRememberAddressesWritesChanges: a success at a known address leaves the file, even
// one that the client could not replace.
func TestRememberAddressesWritesChanges(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	if err := f.rememberAddresses(t.Context(), "gate.example", parseAll("203.0.113.5", "2001:db8::5")...); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(f.Path + ".addresses")
	if err != nil {
		t.Fatal(err)
	}
	for _, worked := range [][]netip.Addr{parseAll("203.0.113.5"), parseAll("2001:db8::5"), parseAll("203.0.113.5", "2001:db8::5")} {
		if err := f.rememberAddresses(t.Context(), "gate.example", worked...); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.Stat(f.Path + ".addresses")
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
	if err := f.rememberAddresses(t.Context(), "gate.example", parseAll("203.0.113.6")...); err != nil {
		t.Fatal(err)
	}
	if after, err = os.Stat(f.Path + ".addresses"); err != nil || os.SameFile(before, after) {
		t.Errorf("the file was not replaced (%v)", err)
	}
}

// TestRememberedIsBounded: the file keeps the latest servers.
func TestRememberedIsBounded(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for i := range 3 * maxRemembered {
		server := fmt.Sprintf("%s%d.example", strings.Repeat("long.", 47), i)
		longest := parseAll("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
		if err := f.rememberAddresses(t.Context(), server, longest...); err != nil {
			t.Fatal(err)
		}
		if len(f.rememberedAddresses(server)) != 1 {
			t.Errorf("%s is forgotten at once", server)
		}
	}
	all := f.readAddresses()
	if len(all) != maxRemembered || !strings.HasSuffix(all[0].server, fmt.Sprintf("%d.example", 3*maxRemembered-1)) {
		t.Errorf("%d lines, first %+v", len(all), all[0])
	}
}

// TestRememberedDamaged: what is not a valid line is forgotten, and the next success
// writes a valid file.
func TestRememberedDamaged(t *testing.T) {
	const good = addressesHeader + "\ngate.example 203.0.113.5\n"
	for text, want := range map[string]string{
		good:                                   "[203.0.113.5]",
		good + "gate.example 203.0.113.5\n":    "[203.0.113.5]",
		good + "gate.example 2001:db8::5":      "[203.0.113.5]", // cut short, perhaps
		good + "gate.example 127.0.0.1\n":      "[203.0.113.5]",
		good + "gate.example 0.0.0.0\n":        "[203.0.113.5]",
		good + "gate.example ::ffff:1.2.3.4\n": "[203.0.113.5]",
		good + "gate.example\n\n \n":           "[203.0.113.5]",
		good + "$(id) 203.0.113.5\n":           "[203.0.113.5]",
		"\x00" + good:                          "[]",
		"":                                     "[]",
		strings.Replace(good, " 1", " 2", 1):   "[]",
		addressesHeader:                        "[]",
		addressesHeader + "\n" + strings.Repeat("gate.example 203.0.113.5 \n", 1<<14): "[]",
	} {
		f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
		if err := os.WriteFile(f.Path+".addresses", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.rememberedAddresses("gate.example")); got != want {
			t.Errorf("%.80q: %s", text, got)
		}
		if err := f.rememberAddresses(t.Context(), "gate.example", parseAll("192.0.2.9")...); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(f.rememberedAddresses("gate.example")); got != "[192.0.2.9]" {
			t.Errorf("%.80q, and then a success: %s", text, got)
		}
	}
	if got := (NonceFile{}).rememberedAddresses("gate.example"); got != nil {
		t.Errorf("without a file: %v", got)
	}
	if err := (NonceFile{}).rememberAddresses(t.Context(), "gate.example", parseAll("192.0.2.9")...); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

// TestRememberedLines: what the client writes, it reads again; what it reads of any text
// is valid.
func TestRememberedLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := addressesHeader + "\n"
		for range rapid.IntRange(0, 40).Draw(t, "lines") {
			text += rapid.SampledFrom([]string{"gate.example", "b", "localhost", "", "a b"}).Draw(t, "server") +
				rapid.SampledFrom([]string{" ", "", "\n"}).Draw(t, "between") +
				rapid.SampledFrom([]string{"1.2.3.4", "::1", "fe80::1%eth0", "2001:db8::1", "x"}).Draw(t, "address") +
				rapid.SampledFrom([]string{"\n", " ", "\r\n"}).Draw(t, "end")
		}
		all := parseAddresses(text)
		if len(all) > maxRemembered {
			t.Fatalf("%d lines", len(all))
		}
		for _, r := range all {
			if WhyNotServer(r.server, r.address) != "" || !ValidHost(r.server) {
				t.Fatalf("%q gave %+v", text, r)
			}
		}
		if again := parseAddresses(string(formatAddresses(all))); fmt.Sprint(again) != fmt.Sprint(all) {
			t.Fatalf("%v became %v", all, again)
		}
	})
}
