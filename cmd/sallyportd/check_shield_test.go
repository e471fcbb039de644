package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/shield"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// TestCheckShield: what "check" prints of the shield, and its warnings, by code.
func TestCheckShield(t *testing.T) {
	yes, no := true, false
	native := []shield.Preview{{Name: "eth0", Mode: "native"}}
	with := func(owner xdp.Owner) []shield.Preview {
		return []shield.Preview{{Name: "eth0", Mode: "native", Owner: owner}}
	}
	missing := fmt.Errorf("load the shield: %w", xdp.ErrPrivilege)
	old := fmt.Errorf("load the shield: %w", xdp.ErrKernel)
	stopped := unreachable(t)
	on := func(all ...admin.ShieldInterface) *admin.Shield { return &admin.Shield{On: true, Interfaces: all} }
	gone := func(why string) *admin.Shield { return &admin.Shield{Error: why} }
	for name, row := range map[string]struct {
		shield  effectiveShield
		running *admin.Shield
		asked   error
		host    []shield.Preview
		unread  error
		line    string
		codes   string
		hint    string
	}{
		"off, not known":  {shield: effectiveShield{Mode: "off"}, asked: stopped, host: native, line: "off; only root"},
		"off, possible":   {shield: effectiveShield{Mode: "off", Possible: &yes}, asked: stopped, host: native, line: "off; this host can have it (shield = \"xdp\"), on eth0 (native)"},
		"off, busy":       {shield: effectiveShield{Mode: "off", Possible: &yes}, asked: stopped, host: with(xdp.OtherOwner), line: "on eth0 (an XDP program is attached)"},
		"off, impossible": {shield: effectiveShield{Mode: "off", Possible: &no, cause: old}, asked: stopped, line: "off; this host cannot have it: load the shield: the kernel does not"},
		"off, a server has it": {shield: effectiveShield{Mode: "off", Possible: &yes}, running: on(), line: "off; the running server was started with it",
			codes: "shield-restart", hint: "restart"},
		"off, a server had it": {shield: effectiveShield{Mode: "off", Possible: &yes}, running: gone("why"), line: "off; the running server was started with it",
			codes: "shield-restart", hint: "restart"},
		"off, here and there": {shield: effectiveShield{Mode: "off", Possible: &yes}, host: native, line: "off; this host can have it"},

		"possible":  {shield: effectiveShield{Possible: &yes, Flows: true}, asked: stopped, host: native, line: "before the sockets, on eth0 (native)"},
		"not known": {asked: stopped, host: native, line: "before the sockets, on eth0 (native)", codes: "missing-capability", hint: "guide"},
		"held":      {shield: effectiveShield{holds: true}, asked: stopped, host: native, line: "before the sockets, on eth0 (native)"},
		"no privilege": {shield: effectiveShield{Possible: &no, cause: missing}, asked: stopped, host: native, line: "none: this host cannot have it", codes: "shield-unavailable",
			hint: "Docker before 23.0, and Podman: SYS_ADMIN"},
		"an old kernel": {shield: effectiveShield{Possible: &no, cause: old}, asked: stopped, host: native, line: "none: this host cannot have it",
			codes: "shield-unavailable", hint: "\"off\""},
		"another program": {shield: effectiveShield{Possible: &yes}, asked: stopped, host: with(xdp.OtherOwner), line: "no interface is free for it: eth0 (an XDP program is attached)",
			codes: "shield-busy", hint: "eth0 xdp off"},
		"another server": {shield: effectiveShield{Possible: &yes}, asked: stopped, host: with(xdp.ThisPackage), line: "eth0 (a shield of Sallyport is attached)",
			codes: "shield-busy", hint: "another configuration"},
		"a program, without privileges": {asked: stopped, host: with(xdp.UnknownOwner), line: "eth0 (an XDP program is attached)",
			codes: "missing-capability,shield-busy", hint: "as root"},
		"nowhere": {shield: effectiveShield{Possible: &yes}, asked: stopped, line: "no interface is free for it", codes: "shield-not-attached", hint: "shield_interfaces"},
		"a tunnel": {shield: effectiveShield{Possible: &yes}, asked: stopped, host: []shield.Preview{{Name: "wg0", Err: "it has no Ethernet header"}},
			line: "no interface is free for it: wg0 (not attached)", codes: "shield-not-attached", hint: "shield_interfaces"},
		"one of two": {shield: effectiveShield{Possible: &yes}, asked: stopped, host: append([]shield.Preview{{Name: "eth7", Err: "there is no such interface"}}, native...),
			line: "before the sockets, on eth7 (not attached), eth0 (native)", codes: "shield-not-attached", hint: "correct shield_interfaces"},
		"unread": {shield: effectiveShield{Possible: &yes}, asked: stopped, unread: syscall.EAFNOSUPPORT, line: "interfaces that cannot be read: address family not supported",
			codes: "shield-interfaces-unreadable", hint: "netlink"},
		"mirrors":                        {shield: effectiveShield{Possible: &yes, Mirror: true}, asked: stopped, host: native, line: "on eth0", codes: "shield-mirror", hint: "reload"},
		"a server that may not be asked": {shield: effectiveShield{Possible: &yes}, asked: fs.ErrPermission, host: native, line: "before the sockets, on eth0"},

		"runs": {running: on(admin.ShieldInterface{Name: "eth0", Mode: "native"}), host: with(xdp.ThisPackage), line: "before the sockets, on eth0 (native)"},
		"runs, in part": {running: on(admin.ShieldInterface{Name: "eth0", Mode: "native"}, admin.ShieldInterface{Name: "eth1", Error: "attach: " + xdp.ErrBusy.Error()}),
			line: "before the sockets, on eth0 (native), eth1 (not attached)", codes: "shield-not-attached", hint: "dev eth1 xdp off"},
		"runs nowhere": {running: on(admin.ShieldInterface{Name: "eth0", Error: "attach: " + xdp.ErrBusy.Error()}),
			line: "attached nowhere: the running server receives at its sockets; eth0", codes: "shield-not-attached", hint: "dev eth0 xdp off"},
		"runs without an interface": {running: on(), line: "attached nowhere: the running server", codes: "shield-not-attached", hint: "shield_interfaces"},
		"gone": {shield: effectiveShield{Possible: &yes}, running: gone(holder.ErrDead.Error()), host: native, line: "none now: the running server receives at its sockets",
			codes: "shield-gone", hint: "firewall hold"},
		"never held":  {running: gone("no holder has loaded it"), host: native, line: "none now", codes: "shield-gone", hint: "firewall hold"},
		"refused":     {running: gone(missing.Error()), host: native, line: "none now", codes: "shield-gone", hint: "as root or with these capabilities"},
		"no memory":   {running: gone("create map: " + syscall.ENOMEM.Error()), host: native, line: "none now", codes: "shield-gone", hint: "more memory"},
		"other rules": {running: gone(holder.ErrOtherConfiguration.Error()), host: native, line: "none now", codes: "shield-gone", hint: "systemctl reload"},
		"not yet":     {host: native, line: "none now: the running server was started without it", codes: "shield-restart", hint: "restart the server"},
	} {
		e := row.shield
		if e.Mode == "" {
			e.Mode = "xdp"
		}
		e.ask(row.running, row.asked)
		if e.Now != "on" {
			e.preview(row.host, row.unread)
		}
		lines := e.lines()
		if !strings.Contains(lines[0], row.line) {
			t.Errorf("%s: prints %q, want %q", name, lines[0], row.line)
		}
		all := strings.Join(lines, "\n")
		before := strings.HasPrefix(lines[0], "before the sockets")
		if strings.Contains(all, "tcpdump") != (before && !e.Mirror) {
			t.Errorf("%s: prints of a shield before the sockets: %t, and\n%s", name, before, all)
		}
		if row.asked == fs.ErrPermission != strings.Contains(all, "is not known: permission denied") {
			t.Errorf("%s: asked with %v, prints\n%s", name, row.asked, all)
		}
		var codes, hints []string
		for _, f := range e.check() {
			codes, hints = append(codes, f.Code), append(hints, f.Hint)
		}
		got := strings.Join(codes, ",")
		if got != row.codes || !strings.Contains(strings.Join(hints, "\n"), row.hint) {
			t.Errorf("%s: warns of %q with %q, want %q with %q", name, got, hints, row.codes, row.hint)
		}
	}
}

// TestCheckTranslation: what "check" prints of address translation, where it matters.
func TestCheckTranslation(t *testing.T) {
	yes, no := true, false
	const looksUp, redirected, high, later = "looks up the flow of each datagram", "that a rule redirects (DNAT)", "does not let the shield look up flows", "if this host translates addresses (NAT) later"
	for _, row := range []struct {
		shield effectiveShield
		want   []string
	}{
		{effectiveShield{Possible: &yes, Flows: true}, nil},
		{effectiveShield{Possible: &yes, Flows: true, Translates: true}, []string{looksUp, redirected}},
		{effectiveShield{Possible: &yes, Translates: true}, []string{high}},
		{effectiveShield{Possible: &yes}, []string{later}},
		{effectiveShield{Possible: &no, holds: true}, nil}, // nothing is known of it
		{effectiveShield{}, nil},
	} {
		e := row.shield
		e.Mode = "xdp"
		e.preview([]shield.Preview{{Name: "eth0", Mode: "native"}}, nil)
		all := strings.Join(e.lines(), "\n")
		for _, text := range []string{looksUp, redirected, high, later} {
			if strings.Contains(all, text) != slices.Contains(row.want, text) {
				t.Errorf("flows %t, translates %t: prints, want %q:\n%s", e.Flows, e.Translates, row.want, all)
			}
		}
	}
}

// unreachable is the error of a request to a server that does not run.
func unreachable(t *testing.T) error {
	t.Helper()
	_, err := admin.Conn{Socket: filepath.Join(t.TempDir(), "none.sock")}.Shield(t.Context())
	var stopped *admin.UnreachableError
	if !errors.As(err, &stopped) || !stopped.Stopped() {
		t.Fatalf("a server that does not run: %v", err)
	}
	return err
}
