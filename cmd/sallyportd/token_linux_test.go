package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// delegated is what a BPF token of the shield must allow.
var delegated = map[string]string{
	"delegate_cmds":    "map_create:prog_load:btf_load",
	"delegate_maps":    "array:hash:ringbuf",
	"delegate_progs":   "socket_filter:xdp",
	"delegate_attachs": "xdp:cgroup_inet_ingress",
}

// newContainerWorld is newShieldWorld with the server in a container without privileges
// on the host.
//
//	the container's namespace     this namespace
//	srv 192.0.2.1  <---------->  cli 192.0.2.2 to .60
func newContainerWorld(t *testing.T, parameters map[string]string) (*shieldWorld, *netns.Container) {
	t.Helper()
	in := netns.NewContainer(t, parameters)
	w := &shieldWorld{there: netns.Here(t), next: 2, knocks: new(atomic.Uint64)}
	netns.Connect(t, netns.End{Name: "cli", Addresses: clientAddresses()}, in.Host, netns.End{Name: shieldLink, Addresses: []string{shieldHost + "/24"}})
	w.dir, w.guests = w.serverDir(t, "8080", "the port secret")
	return w, in
}

// TestShieldByToken: in a user namespace, the capabilities do not count. With a BPF
// token, the holder of a container loads and attaches the shield.
func TestShieldByToken(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w, in := newContainerWorld(t, delegated)
	checks(t, w, in, "before the sockets, on srv (native)", "warning: this host cannot have the shield", false)
	h := startHold(t, w.dir, in.Enter()...)
	v := startTool(t, w.dir, append(in.Enter(), "setpriv", "--bounding-set=-all", "--inh-caps=-all"), "serve")
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)
	w.byShield(t, "by a token", v, w.guests[0], shieldHost)
	v.end(t, syscall.SIGTERM)
	h.end(t, syscall.SIGTERM)
	// The server's child does the same.
	v = startTool(t, w.dir, in.Enter(), "serve")
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)
	w.byShield(t, "by the server's holder", v, w.guests[1], shieldHost)
	v.end(t, syscall.SIGTERM)
}

// TestShieldWithPartOfAToken: "check" and the log name what a token lacks, and the
// server receives at its sockets.
func TestShieldWithPartOfAToken(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, row := range []struct{ without, instead, want string }{
		{"all", "", "or a BPF token that allows this"},
		{"delegate_cmds", "map_create:prog_load", "command BPF_BTF_LOAD: token insufficiently privileged"},
		{"delegate_maps", "array:hash", "map type BPF_MAP_TYPE_RINGBUF: token insufficiently privileged"},
		{"delegate_progs", "socket_filter", "program type BPF_PROG_TYPE_XDP: token insufficiently privileged"},
		{"delegate_attachs", "xdp", "attach type BPF_CGROUP_INET_INGRESS: token insufficiently privileged"},
	} {
		t.Run(row.without, func(t *testing.T) {
			parameters := map[string]string{}
			for name, value := range delegated {
				if row.without == "all" {
					break
				}
				parameters[name] = value
			}
			if row.instead != "" {
				parameters[row.without] = row.instead
			}
			w, in := newContainerWorld(t, parameters)
			checks(t, w, in, "warning: this host cannot have the shield, so the server receives at its sockets: ", row.want, true)
			v := startTool(t, w.dir, in.Enter(), "serve")
			awaitLog(t, v, `msg="shield unavailable; the sockets go on"`, 1)
			if !strings.Contains(v.log(), row.want) {
				t.Errorf("the log has no %q:\n%s", row.want, v.log())
			}
			if strings.Contains(v.log(), "MEMLOCK") {
				t.Errorf("the log names a limit that does not matter:\n%s", v.log())
			}
			w.bySockets(t, "without "+row.without, v, w.dir, w.guests[0])
			v.end(t, syscall.SIGTERM)
		})
	}
}

// checks checks that "check" prints a text in a container, and whether it prints
// another one.
func checks(t *testing.T, w *shieldWorld, in *netns.Container, text, other string, prints bool) {
	t.Helper()
	line := append(in.Enter(), programAs(t, "sallyportd"), "check", "-c", filepath.Join(w.dir, "sallyportd.toml"))
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), text) || strings.Contains(string(out), other) != prints {
		t.Errorf("check: %v, want %q, and %q: %t\n%s", err, text, other, prints, out)
	}
}
