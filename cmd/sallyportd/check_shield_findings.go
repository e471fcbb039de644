package main

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// check warns if the shield of the configuration cannot work, or does not.
func (e *effectiveShield) check() (found []finding) {
	add := func(code, hint, format string, args ...any) { found = append(found, warn(code, hint, format, args...)) }
	if e.Mode == "off" {
		if e.Now == "on" || e.Now == "gone" {
			add("shield-restart", restartForShield, "shield = \"off\", and the running server was started with the shield")
		}
		return found
	}
	if e.Mirror {
		add("shield-mirror", "after debugging, set shield_mirror = false, and reload",
			"shield_mirror is set: the shield counts what it would drop, and drops nothing")
	}
	switch {
	case e.Now == "gone":
		add("shield-gone", shieldHint(e.gone, ""), "the running server has no shield, and receives at its sockets: %s", e.gone)
		return found
	case e.Now == "off":
		add("shield-restart", restartForShield, "the running server was started without the shield, and receives at its sockets")
		return found
	case e.Now == "on", e.holds:
	case e.Possible == nil:
		add("missing-capability", grantShield,
			"shield = \"xdp\" requires CAP_BPF and CAP_NET_ADMIN, which this command does not have; without them the server receives at its sockets")
	case !*e.Possible:
		add("shield-unavailable", shieldHint(e.cause.Error(), ""), "this host cannot have the shield, so the server receives at its sockets: %s", e.cause)
		return found
	}
	if e.unread != nil {
		add("shield-interfaces-unreadable", "let this command open netlink sockets: a filter of system calls or of address families may forbid them",
			"it is not known which interfaces can have the shield: %v", e.unread)
	}
	for _, name := range slices.Sorted(maps.Keys(e.taken)) {
		switch e.taken[name] {
		case xdp.ThisPackage:
			add("shield-busy", "if it is that of a server with another configuration: stop that server, or name only other interfaces in shield_interfaces",
				"a shield of Sallyport is attached to %s; an interface has only one", name)
		case xdp.UnknownOwner:
			add("shield-busy", "run this command as root to see its owner; if it is not a shield of Sallyport: "+freeInterface(name),
				"an XDP program is attached to %s; if it is not the server's own, the shield cannot be", name)
		case xdp.OtherOwner:
			add("shield-busy", freeInterface(name), "another XDP program is attached to %s, so the shield cannot be", name)
		}
	}
	if len(e.Interfaces) == 0 && e.unread == nil {
		add("shield-not-attached", "name the interfaces in shield_interfaces", "no interface has an address of listen, so the shield is attached to none")
	}
	for _, i := range e.Interfaces {
		if i.Error != "" {
			add("shield-not-attached", shieldHint(i.Error, i.Name), "the shield is not attached to %s: %s", i.Name, i.Error)
		}
	}
	return found
}

const (
	grantShield = "start \"sallyportd serve\", or \"sallyportd firewall hold\", as root or with these capabilities. " +
		"systemd: container/sallyportd-shield.conf grants CAP_BPF. Docker from 23.0, containerd and Kubernetes: add BPF and NET_ADMIN. " +
		"Docker before 23.0, and Podman: SYS_ADMIN instead of BPF. Incus and LXD: a BPF token. The guide has the details (\"The shield\")"

	restartForShield = "restart the server: a change of \"shield\" requires that"
	leaveToSockets   = "leave the interface out of shield_interfaces: the sockets get its datagrams"
	noShieldHere     = "set shield = \"off\" on this host"
	startHolder      = "start \"sallyportd firewall hold\", or restart the server if it had started the holder"
)

func freeInterface(name string) string {
	return "detach that program (\"ip link set dev " + name + " xdp off\", or stop its owner), or name only other interfaces in shield_interfaces"
}

// shieldHint returns what to do about a reason, of an interface or of all. The server and
// the holder pass reasons as text.
func shieldHint(reason, name string) string {
	for _, known := range []struct{ text, hint string }{
		{xdp.ErrPrivilege.Error(), grantShield},
		{xdp.ErrBusy.Error(), freeInterface(name)},
		{xdp.ErrEthernet.Error(), leaveToSockets},
		{"no Ethernet header", leaveToSockets},
		{"no such interface", "correct shield_interfaces; if the interface comes later, it gets the shield then"},
		{xdp.ErrKernel.Error(), noShieldHere},
		{xdp.ErrProcessor.Error(), noShieldHere},
		{unix.ENOMEM.Error(), "give the holder's service or container more memory: the program takes about 2 MiB for each processor, and 100 bytes for each client"},
		{holder.ErrOtherConfiguration.Error(), "make the holder read this configuration: systemctl reload sallyportd-firewall, or send SIGHUP to \"sallyportd firewall hold\""},
		{holder.ErrOtherRelease.Error(), "restart the holder: systemctl restart sallyportd-firewall"},
		{holder.ErrDead.Error(), startHolder},
		{"no holder", startHolder},
	} {
		if strings.Contains(reason, known.text) {
			return known.hint
		}
	}
	return ""
}
