package firewall

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// forms returns tables of all kinds.
func forms() map[string]Config {
	forms := map[string]Config{
		"stealth":           {Stealth: true},
		"stealth, excepted": {Stealth: true, Except: []uint16{5353, 51820}},
		"captured":          {Captured: [2]uint16{3000, 3999}},
	}
	for _, cut := range []bool{false, true} {
		hour := time.Now().Add(time.Hour)
		forms[fmt.Sprintf("trial, cut %t", cut)] = Config{Stealth: true, Trial: Trial{serviceOf(0): hour, serviceOf(1): hour, StealthTrial: hour}, Ports: []Port{
			{Protocol: TCP, Port: 2000, Cut: cut}, {Protocol: UDP, Port: 2000, Cut: cut, Reject: true}, {Protocol: TCP, Port: 2001},
		}}
	}
	for _, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
		forms[fmt.Sprintf("ISN, hook %d", hook)] = Config{Ports: []Port{
			{Protocol: TCP, Port: 2000, Hook: hook, RequireISN: true},
			{Protocol: TCP, Port: 2001, Hook: hook, RequireISN: true, Address: host6, Reject: true, More: []At{{host4, access.Ports{First: 443, Last: 445}}}},
			{Protocol: TCP, Port: 2002},
		}}
	}
	for i, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
		for j, protocol := range []Protocol{TCP, UDP} {
			cut := (i+j)%2 == 0
			forms[fmt.Sprintf("jump, hook %d, %s", hook, protocol)] = Config{Ports: []Port{
				{Protocol: protocol, Port: 2000, Hook: hook, Cut: cut, Reject: cut, Jump: "operator"},
				{Protocol: TCP, Port: 2001, RequireISN: true, Jump: "operator"},
				{Protocol: protocol, Port: 60000, Last: 61000, Hook: hook, Cut: !cut, Jump: "operator", More: []At{{host4, access.Ports{First: 443, Last: 445}}}},
			}}
		}
	}
	for _, bits := range []int{16, 17, 20, 24, 31} {
		forms[fmt.Sprintf("IPv4 networks of %d bits", bits)] = Config{Ports: []Port{
			{Protocol: TCP, Port: 2000, PrefixLen4: bits}, {Protocol: UDP, Port: 2000, Cut: true, PrefixLen4: bits}, {Protocol: TCP, Port: 2001},
		}}
	}
	for _, bits := range []int{16, 24} {
		forms[fmt.Sprintf("drawn, IPv4 networks of %d bits", bits)] = Config{Ports: []Port{
			{Protocol: TCP, Port: 2000, Drawn: drawnRange, PrefixLen4: bits}, {Protocol: UDP, Port: 2000, Drawn: drawnRange, PrefixLen4: bits},
			{Protocol: TCP, Drawn: drawnRange, PrefixLen4: bits}, {Protocol: UDP, Drawn: drawnRange}, {Protocol: TCP, Port: 2001},
		}}
	}
	ranges := []access.Ports{{First: 10000, Last: 20000}, {First: 30000, Last: 30000}}
	for address, kind := range map[netip.Addr]string{{}: "drop", host4: "reject", host6: "cut"} {
		forms["drawn, at "+address.String()+", "+kind] = Config{Ports: []Port{
			{Protocol: TCP, Port: 2000, Address: address, Reject: kind == "reject", Cut: kind == "cut", Drawn: ranges},
			{Protocol: UDP, Port: 2001, Address: address, Reject: kind == "reject", Cut: kind == "cut", Drawn: ranges},
			{Protocol: TCP, Address: address, Drawn: ranges},
			{Protocol: UDP, Address: address, Drawn: ranges},
			{Protocol: UDP, Port: 2002},
		}, Stealth: kind == "cut"}
	}
	for address, reject := range map[netip.Addr]bool{{}: false, host4: true, host6: false} {
		forms["a listener, at "+address.String()] = Config{Users: []uint32{0, 65534}, Ports: []Port{
			{Protocol: TCP, Port: 2000, Address: address, Reject: reject, Listener: 3000}, {Protocol: UDP, Port: 2000}, {Protocol: TCP, Port: 2001, PrefixLen4: 24, Listener: 3001},
		}}
	}
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
			for _, address := range []netip.Addr{{}, host4, host6} {
				for _, kind := range []string{"drop", "reject", "cut"} {
					forms[fmt.Sprintf("%s, hook %d, at %s, %s", protocol, hook, address, kind)] = Config{
						Ports: []Port{
							{Protocol: protocol, Port: 2000, Hook: hook, Address: address, Reject: kind == "reject", Cut: kind == "cut"},
							{Protocol: protocol, Port: 2001},
							{
								Protocol: protocol, Port: 60000, Last: 61000, Hook: hook, Address: address, Cut: kind == "cut",
								More: []At{{Ports: access.Ports{First: 80, Last: 80}}, {host4, access.Ports{First: 443, Last: 445}}},
							},
						},
						Trusted: map[access.ServiceID]Trusted{serviceOf(1): trustedForms(kind)},
						Stealth: kind == "cut", Captured: [2]uint16{3000, 3001},
					}
				}
			}
		}
	}
	return forms
}

// trustedForms returns networks of several lengths, and interfaces.
func trustedForms(kind string) (t Trusted) {
	for _, text := range map[string][]string{
		"drop":   {"10.8.0.0/24", "192.0.2.7", "10.128.0.0/9", "2001:db8::/64", "2001:db8::7", "fc00::/7", "docker0", "br-0123456789ab"},
		"reject": {"eth0.100@if3"},
	}[kind] {
		if err := t.add(text); err != nil {
			panic(err)
		}
	}
	return t
}

// run runs nft.
func (w *network) run(input []byte, arguments ...string) []byte {
	w.Helper()
	c := exec.Command("nft", arguments...)
	c.Stdin = bytes.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		w.Fatalf("nft %q: %v\n%s\n%s", arguments, err, out, input)
	}
	return out
}

// expiry is the only part that differs between two listings of one table.
var expiry = regexp.MustCompile(`( expires [0-9a-z]+|"expires": [0-9]+)`)

// TestListedAndLoaded: nft loads its own listing of a table, as text or JSON,
// as the same table, down to each byte that the kernel reports.
func TestListedAndLoaded(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	some, compared := 0, 0
	for name, cfg := range forms() {
		if some++; testing.Short() && some > 12 { // others each time
			break
		}
		f := w.claim(cfg)
		json := []bool{false, true}
		for i, p := range cfg.Ports {
			if p.RequireISN {
				// nft 1.0.6 prints the type of such a set as JSON, and cannot read it.
				json = []bool{false}
				w.must(f.do(numberedChange(i, client4, 7, time.Hour), numberedChange(i, client6, 1<<31, time.Hour)))
				continue
			}
			grants := []access.Change{
				changeOf(i, access.PeerIn(client4, p.PrefixLen4, access.PrefixHost), time.Hour), change(i, client6, time.Hour),
				changeOf(i, access.PeerOf(client6, access.PrefixHost), time.Hour),
			}
			if p.rotates() {
				json = []bool{false} // as with numbers: 64 bits of an address have no type in JSON
				for j := range grants {
					grants[j].Peer.Port = 10000 + uint16(j)
				}
			} else {
				grants = append(grants, changeOf(i, access.Anyone4, time.Hour), changeOf(i, access.Anyone6, time.Hour))
			}
			w.must(f.do(grants...))
		}
		w.must(f.OpenKnockPorts([]uint16{3500, 65535}, time.Hour))
		made, err := read()
		w.must(err)
		for _, json := range json {
			list, load := []string{"list", "ruleset"}, []string{"-f", "-"}
			if json {
				list, load = append([]string{"-j"}, list...), append([]string{"-j"}, load...)
			}
			listed := time.Now()
			text := w.run(nil, list...)
			w.nft("flush ruleset")
			w.run(text, load...)
			took := time.Since(listed) // the loaded elements last longer by it
			again := w.run(nil, list...)
			if a, b := expiry.ReplaceAll(text, nil), expiry.ReplaceAll(again, nil); !json && !bytes.Equal(a, b) {
				t.Errorf("%s: listed\n%s\nand after it was loaded\n%s", name, a, b)
			}
			loaded, err := read()
			w.must(err)
			if loaded.digest() != made.digest() {
				t.Errorf("%s, JSON %v: what was loaded is not what was listed:\n%s", name, json, different(made, loaded))
			}
			found, err := Inspect()
			w.must(err)
			if found.Kind != Owned || found.Owner != tester || !found.Intact {
				t.Errorf("%s, JSON %v: a loaded copy is %+v", name, json, found)
			}
			same, err := f.elementsIntact()
			if took < slack {
				compared++
			}
			if err != nil || !same && took < slack {
				t.Errorf("%s, JSON %v: the loaded copy has other elements: %v\n%s", name, json, err, again)
			}
		}
	}
	if compared == 0 {
		t.Error("no listing was loaded within the slack")
	}
}

// different describes in which rules and sets two tables differ.
func different(a, b content) (s string) {
	for _, kind := range []struct {
		name   string
		was    []object
		is     []object
		except []uint16 // what differs: handles
	}{
		{"rule", a.rules, b.rules, []uint16{unix.NFTA_RULE_HANDLE, unix.NFTA_RULE_POSITION}},
		{"set", a.sets, b.sets, []uint16{setHandle}},
		{"chain", a.chains, b.chains, []uint16{unix.NFTA_CHAIN_HANDLE}},
	} {
		for i := range min(len(kind.was), len(kind.is)) {
			for of, is := range kind.is[i] {
				if was := kind.was[i][of]; !bytes.Equal(was, is) && !slices.Contains(kind.except, of) {
					s += fmt.Sprintf("%s %d, attribute %d:\n%x\n%x\n", kind.name, i, of, was, is)
				}
			}
		}
	}
	return s
}
