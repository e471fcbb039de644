package mobile

import (
	"strings"
	"testing"
)

// TestGateways: an app knocks at each gateway with another key, and never with the profile
// of several.
func TestGateways(t *testing.T) {
	text := "port_secret = \"port\"\nports = 3\nidentifier = \"com1\"\nsecret = \"hunter2\"\n"
	for _, name := range []string{"gw1", "gw2"} {
		text += "[[gateways]]\nname = \"" + name + "\"\nserver = \"" + name + ".example\"\n"
	}
	p, err := NewProfile(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKnocker(p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "Gateway") {
		t.Errorf("a knocker for two gateways: %v", err)
	}
	dir, paths := t.TempDir(), map[string]bool{}
	for i := range p.CountGateways() {
		one, err := p.Gateway(i)
		if err != nil || one.Server() != p.GatewayName(i)+".example" || one.CountGateways() != 0 {
			t.Fatalf("%d: %+v, %v", i, one, err)
		}
		k, err := NewKnocker(one, dir)
		if err != nil {
			t.Fatal(err)
		}
		paths[k.nonces.Path] = true
	}
	if len(paths) != 2 {
		t.Errorf("records of nonces: %v", paths)
	}
	for _, i := range []int{-1, 2} {
		if one, err := p.Gateway(i); err == nil || p.GatewayName(i) != "" {
			t.Errorf("gateway %d: %+v", i, one)
		}
	}
}
