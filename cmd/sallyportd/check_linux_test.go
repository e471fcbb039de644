package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/cmd/sallyportd/internal/privilege"
)

func TestCheckPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	now := time.Unix(1_800_000_030, 0)
	warnings := func(listen, service string) string {
		cfg := configtest.Parse(t, "/nonexistent", fmt.Sprintf("listen = [%s]\n%s", listen, strings.Replace(configtest.Web, "127.0.0.1:8080", service, 1)))
		return texts(checkPorts(t.Context(), cfg, now))
	}
	if got := warnings(`"127.0.0.1"`, "127.0.0.1:8080"); got != "" {
		t.Errorf("all free: %q", got)
	}
	got := warnings(`"127.0.0.1", "192.0.2.1"`, "192.0.2.1:8080")
	if !strings.Contains(got, "service web: this host does not have the address 192.0.2.1:8080") || strings.Count(got, "192.0.2.1:") != 11 || strings.Contains(got, "127.0.0.1") {
		t.Errorf("an absent address: %q", got)
	}
	got = warnings(`"2001:db8::1"`, "127.0.0.1:8080")
	if !strings.Contains(got, "cannot open these knock ports of the current minute: [2001:db8::1]:") {
		t.Errorf("an absent address of IPv6: %q", got)
	}
}

// TestCheckPrivilege: a configuration that requires CAP_NET_ADMIN is valid for a
// command without it, and gets a warning.
func TestCheckPrivilege(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	now := time.Unix(1_800_000_030, 0)
	for _, row := range []struct {
		keys string
		want []string
	}{
		{configtest.Web, nil},
		{"stealth = true\n" + configtest.Web, []string{"stealth = true"}},
		{"[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":22\"\n", []string{`service ssh, of type "firewall",`}},
	} {
		cfg := configtest.Parse(t, "/nonexistent", row.keys)
		for held, want := range map[privilege.Set][]string{0: row.want, privilege.NetAdmin: nil} {
			var found []string
			for _, f := range check(t.Context(), cfg, nil, config.Host{FilterTCP: true, FirstOpenPort: 1024, Held: held}, envAt(now)) {
				subject, _, ok := strings.Cut(f.Text, " requires CAP_NET_ADMIN, which this command does not have")
				if ok && f.Code == "missing-capability" {
					found = append(found, subject)
				}
			}
			if !slices.Equal(found, want) {
				t.Errorf("%s with %b: %q, want %q", row.keys, held, found, want)
			}
		}
	}
}

// TestAdviceUnderStealth: among ports that do not answer, only a service whose
// policy is "reject" stands out, and gets advice.
func TestAdviceUnderStealth(t *testing.T) {
	const vpn, proxy = "type = \"firewall\"\nprotocol = \"udp\"\n", "type = \"proxy\"\nupstream = \"192.0.2.1:7\"\nprotocol = \"udp\"\n"
	const rejects = "policy = \"reject\"\n"
	for _, row := range []struct {
		keys    string
		port    int
		stealth bool
		answers bool // strangers
		advised bool
	}{
		{vpn + rejects, 1025, true, true, true},
		{vpn, 1025, true, false, false},
		{vpn + rejects, 1024, true, true, false},
		{vpn + rejects, 1025, false, true, false},
		{"type = \"firewall\"\n" + rejects, 1025, true, true, false},
		{proxy, 1025, true, false, false},
		{proxy + "look = \"filtered\"\n", 1025, true, false, false},
		{proxy, 1024, true, true, false},
	} {
		cfg := configtest.Parse(t, "", fmt.Sprintf("stealth = %t\n[[service]]\nname = \"one\"\nlisten = \":%d\"\n%s", row.stealth, row.port, row.keys))
		if got := cfg.Firewall().Ports[0].Reject; got != row.answers {
			t.Errorf("%+v: answers strangers: %t", row, got)
		}
		found := adviceFor(cfg, config.Host{FilterTCP: true})
		advised := slices.ContainsFunc(found, func(f finding) bool {
			return strings.HasPrefix(f.Text, "service one replies to strangers") && strings.Contains(f.Text, `policy = "drop"`)
		})
		if advised != row.advised {
			t.Errorf("%+v: %q", row, found)
		}
	}
}

// TestCheckCapabilitiesForPrograms: without CAP_SETUID, the check does not know whether the
// server can start programs.
func TestCheckCapabilitiesForPrograms(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	now := time.Unix(1_800_000_030, 0)
	const hook = "[[service]]\nname = \"hook\"\ntype = \"command\"\non_open = [\"/bin/true\"]\ncommand_user = \"www\"\n"
	for _, row := range []struct {
		keys  string
		held  privilege.Set
		warns bool
	}{
		{configtest.Web, 0, false}, {configtest.Web + hook, 0, true},
		{configtest.Web + hook, privilege.SetIDs, false},
	} {
		cfg := configtest.Parse(t, "/nonexistent", row.keys)
		got := texts(check(t.Context(), cfg, nil, config.Host{FilterTCP: true, FirstOpenPort: 1024, Held: row.held}, envAt(now)))
		const want = "missing-capability: service hook starts programs as user www; that requires CAP_SETUID and CAP_SETGID, which this command does not have"
		if strings.Contains(got, want) != row.warns {
			t.Errorf("%s with %b: %s", row.keys, row.held, got)
		}
	}
}
