package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestShield(t *testing.T) {
	off := must(Parse("c.toml", []byte("shield_interfaces = [\"eth0\"]\n"+minimal)))
	if off.Shield != nil || off.Policy().Shield != nil {
		t.Error("a shield by default")
	}
	for listen, want := range map[string][]netip.Addr{
		"": nil, "listen = [\"::\"]": {netip.IPv6Unspecified()}, "listen = [\"gate.example.org\", \"192.0.2.1\"]": nil,
		"listen = [\"192.0.2.1\", \"2001:db8::1\"]": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	} {
		c := must(Parse("c.toml", []byte(listen+"\nshield = \"xdp\"\nshield_interfaces = [\"eth0\", \"wan.7\"]\nshield_mirror = true\n"+minimal)))
		if !slices.Equal(c.Shield.Interfaces, []string{"eth0", "wan.7"}) || !c.Shield.Shares || !c.Shield.Mirror {
			t.Errorf("got %+v", c.Shield)
		}
		p := c.ShieldPolicy().Shield
		if !slices.Equal(p.Listen, want) || !slices.Equal(p.Interfaces, c.Shield.Interfaces) {
			t.Errorf("%s: the policy is %+v", listen, p)
		}
	}
}

func TestShieldRefuses(t *testing.T) {
	for value, found := range map[string]string{
		`["eth 0"]`: `got "eth 0" (entry 1), which is not the name of an interface`, `["a", "a"]`: `got "a" twice`, `[""]`: `got "" (entry 1)`,
		`["0123456789abcdef"]`: `got "0123456789abcdef" (entry 1)`, `["../eth0"]`: `got "../eth0"`, `[]`: "got an empty list",
		`["` + strings.Repeat(`x", "`, maxInterfaces) + `x"]`: "got 65",
	} {
		_, err := Parse("c.toml", []byte("shield = \"xdp\"\nshield_interfaces = "+value+"\n"+minimal))
		if err == nil || !strings.HasPrefix(err.Error(), "c.toml:2: shield_interfaces: expected ") || !strings.Contains(err.Error(), found) {
			t.Errorf("%s: got %v, want %s", value, err, found)
		}
	}
}

// TestShieldAgrees: server and holder agree on what the holder uses of the shield, and
// the server's part can change while the holder runs.
func TestShieldAgrees(t *testing.T) {
	parse := func(keys string) *Config { return must(Parse("c.toml", []byte(keys+minimal))) }
	first := parse("shield = \"xdp\"\n")
	for keys, same := range map[string]bool{
		"shield = \"xdp\"\nshield_shares = false\nshield_mirror = true\n": true,
		"": false, "shield = \"xdp\"\nshield_interfaces = [\"eth0\"]\n": false, "shield = \"xdp\"\nlisten = [\"192.0.2.1\"]\n": false,
	} {
		c := parse(keys)
		alone := c.ShieldDigest() == first.ShieldDigest()
		if whole := c.Digest() == first.Digest(); whole != same || alone != same {
			t.Errorf("%q: the digests agree %t, without a firewall %t", keys, whole, alone)
		}
		if err := first.Changed(c, true); (err == nil) != same {
			t.Errorf("%q: %v", keys, err)
		}
	}
	named := parse("shield = \"xdp\"\nlisten = [\"localhost\"]\n")
	before := named.Digest()
	if err := named.ResolveListen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if named.Digest() != before {
		t.Error("the digest depends on the addresses of a name")
	}
}
