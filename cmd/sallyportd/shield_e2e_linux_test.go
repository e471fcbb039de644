package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// The capabilities of a holder, as in /proc.
const (
	capsNetAdmin    = "0000000000001000"
	capsNetAdminBPF = "0000008000001000"
	capsNone        = "0000000000000000"
)

// TestShield: a server with the shield, through all that its host can do to it.
func TestShield(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=srv:native shares=true`, 1)
	if !strings.Contains(v.log(), "shield=native") || !shieldOn(t, shieldLink) {
		t.Errorf("the interface has a program: %t\n%s", shieldOn(t, shieldLink), v.log())
	}
	w.byShield(t, "at first", v, w.guests[0], shieldHost)
	w.checkApart(t, v)

	w.checks(t, "before the sockets, on srv (native)", true)
	w.checks(t, "warning: the shield", false)
	w.checkCopy(t)
	addTo(t, shieldLink, "192.0.2.99/24")
	w.bySoonShield(t, "at a later address", v, w.guests[1], "192.0.2.99")

	w.edit(t, "clients.txt", "com3 ", "com9 secret-9 0\ncom3 ")
	w.run(t, "reload")
	added := *w.guests[3]
	added.profile.Identifier, added.profile.Secret = [4]byte{'c', 'o', 'm', '9'}, []byte("secret-9")
	added.nonces.Path += ".9"
	w.byShield(t, "of a new client", v, &added, shieldHost)

	w.edit(t, "sallyportd.toml", "[[service]]", "shield_mirror = true\n[[service]]")
	w.run(t, "reload")
	w.bySockets(t, "with shield_mirror", v, w.dir, w.guests[2])
	w.checks(t, "warning: shield_mirror is set", true)
	w.edit(t, "sallyportd.toml", "shield_mirror = true", "shield_mirror = false")
	w.run(t, "reload")
	w.byShield(t, "without shield_mirror", v, w.guests[2], shieldHost)

	l, err := netlink.LinkByName(shieldLink)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, v, `msg="shield detached" interface=srv`, 1)
	w.connect(t)
	netns.Until(t, "the new interface has the shield", func() bool { return shieldOn(t, shieldLink) }, v.log)
	w.byShield(t, "at the new interface", v, w.guests[0], shieldHost)

	if err := syscall.Kill(holderOf(t, v.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, v, `msg="shield gone; the sockets go on"`, 1)
	netns.Until(t, "the kernel has detached the shield", func() bool { return !shieldOn(t, shieldLink) }, v.log)
	w.bySockets(t, "without a holder", v, w.dir, w.guests[1])
	w.checks(t, "warning: the running server has no shield, and receives at its sockets: ", true)
	w.checks(t, "hint: start \"sallyportd firewall hold", true)
	w.checks(t, "before the sockets", false)
	h := startHold(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 2)
	w.byShield(t, "with the next holder", v, w.guests[1], shieldHost)

	v.end(t, syscall.SIGTERM)
	// The kernel may detach it a moment later.
	netns.Until(t, "the interface has no program after the server's end in order", func() bool { return !shieldOn(t, shieldLink) }, h.log)
	v = startVictim(t, w.dir)
	w.byShield(t, "with the holder that runs", v, w.guests[1], shieldHost)
	v.end(t, syscall.SIGKILL)
	netns.Until(t, "the holder has detached the shield", func() bool { return !shieldOn(t, shieldLink) }, h.log)
	h.end(t, syscall.SIGTERM)
}

// checkCopy checks that "check" of a copy of the configuration, with which no server runs,
// recognises the shield of this server, if it may.
func (w *shieldWorld) checkCopy(t *testing.T) {
	t.Helper()
	other := *w
	other.dir = t.TempDir()
	for _, name := range []string{"sallyportd.toml", "clients.txt", "port_secret"} {
		text, err := os.ReadFile(filepath.Join(w.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(other.dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other.checks(t, "no interface is free for it: srv (a shield of Sallyport is attached)", true)
	other.checks(t, "warning: a shield of Sallyport is attached to srv", true)
	other.checks(t, "another XDP program", false)
	without := []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all", programAs(t, "sallyportd"), "check", "-c", filepath.Join(other.dir, "sallyportd.toml")}
	out, err := exec.Command(without[0], without[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "warning: an XDP program is attached to srv; if it is not the server's own") {
		t.Errorf("without privileges: %v\n%s", err, out)
	}
}

// checkApart checks that the server has no privilege, and no descriptor by which it
// could detach the program or change another one.
func (w *shieldWorld) checkApart(t *testing.T, v *victim) {
	t.Helper()
	server := v.cmd.Process.Pid
	child := holderOf(t, server)
	if effective, permitted := capabilities(t, server); effective != capsNone || permitted != capsNone {
		t.Errorf("the server has the capabilities %s, %s", effective, permitted)
	}
	if effective, permitted := capabilities(t, child); effective != capsNetAdminBPF || permitted != capsNetAdminBPF {
		t.Errorf("the holder has the capabilities %s, %s", effective, permitted)
	}
	// The server keeps the descriptor of the array that wakes it, and maps the others.
	if has := bpfFiles(t, server); has["prog"] != 0 || has["link"] != 0 || has["map"] > 1 {
		t.Errorf("the server has descriptors of bpf: %v", has)
	}
	if has := bpfFiles(t, child); has["prog"] == 0 || has["link"] != 1 || has["map"] < 9 {
		t.Errorf("the holder has descriptors of bpf: %v", has)
	}
}

func addTo(t *testing.T, link, address string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.AddrAdd(l, a)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startHold starts "firewall hold", as a command after a prefix.
func startHold(t *testing.T, dir string, prefix ...string) *victim {
	t.Helper()
	v := startTool(t, dir, prefix, "firewall", "hold")
	awaitLog(t, v, `msg="holding the shield"`, 1)
	return v
}

// startTool starts a command of sallyportd after a prefix, such as that of setpriv.
func startTool(t *testing.T, dir string, prefix []string, arguments ...string) *victim {
	t.Helper()
	line := append(append(prefix[:len(prefix):len(prefix)], programAs(t, "sallyportd")), append(arguments, "-c", filepath.Join(dir, "sallyportd.toml"))...)
	v := &victim{opened: map[string]bool{}}
	v.cond.L = &v.mu
	v.cmd = exec.Command(line[0], line[1:]...)
	out, err := v.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startBound(v.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.cmd.Process.Kill()
		v.cmd.Wait()
	})
	go v.read(bufio.NewScanner(out), make(chan bool, 1))
	return v
}

// programAs returns a copy of the test's program, which any user can execute. It is the
// command of its name.
func programAs(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "named-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, name)
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// end ends a process by a signal, and waits for its end.
func (v *victim) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := v.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	for !v.ended {
		v.cond.Wait()
	}
	v.mu.Unlock()
	if err := v.cmd.Wait(); (err != nil) != (s == syscall.SIGKILL) {
		t.Errorf("the process ends with %v\n%s", err, v.log())
	}
}

// TestTwoShields: an interface has one shield. A second server logs why it has none,
// receives at its sockets beside the first one's shield, and gets the interface when the
// first server has stopped.
func TestTwoShields(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	first := startVictim(t, w.dir)
	awaitLog(t, first, `msg="shield on"`, 1)
	dir, guests := w.serverDir(t, "8081", "another port secret")
	second := startVictim(t, dir)
	awaitLog(t, second, `msg="shield loaded, but not attached; the sockets go on"`, 1)
	if !strings.Contains(second.log(), "another XDP program is attached") {
		t.Errorf("no reason in\n%s", second.log())
	}
	w.bySockets(t, "of the second server", second, dir, guests[0])
	w.byShield(t, "of the first server", first, w.guests[0], shieldHost)
	first.end(t, syscall.SIGTERM)
	awaitLog(t, second, `msg="shield attached" interface=srv mode=native`, 1)
	w.dir = dir
	w.byShield(t, "of the second server alone", second, guests[1], shieldHost)
	second.end(t, syscall.SIGTERM)
}

// TestShieldListen: the shield has only the addresses at which the sockets receive, also
// if the list has the unspecified address of a family.
func TestShieldListen(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	const elsewhere = "192.0.2.99"
	w := newShieldWorld(t)
	addTo(t, shieldLink, elsewhere+"/24")
	w.edit(t, "sallyportd.toml", "[[service]]", `listen = ["::", "`+shieldHost+"\"]\n[[service]]")
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	before := traffic(t, w.dir)
	w.send(t, "192.0.2.60", elsewhere, w.guests[0].attempt(t).packets)
	if n := traffic(t, w.dir)["shield_ring"] - before["shield_ring"]; n != 0 {
		t.Errorf("the shield took %d datagrams to an address that is not in the list", n)
	}
	w.byShield(t, "at an address in the list", v, w.guests[0], shieldHost)
	if v.has("192.0.2.60") {
		t.Errorf("a knock at an address that is not in the list opens\n%s", v.log())
	}
	v.end(t, syscall.SIGTERM)
}

// TestShieldWithoutPrivilege: a server that cannot have the shield logs why, and serves.
func TestShieldWithoutPrivilege(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	// In another user namespace, root's capabilities do not count.
	for name, prefix := range map[string][]string{
		"no capability":          {"setpriv", "--bounding-set=-all", "--inh-caps=-all"},
		"another user namespace": {"unshare", "--user", "--map-root-user"},
	} {
		v := startTool(t, w.dir, prefix, "serve")
		awaitLog(t, v, "msg=serving", 1)
		// A holder also has its own line about the request that it has refused.
		once := []string{`msg="shield unavailable; the sockets go on" error=.*CAP_BPF`, "shield=unavailable"}
		for _, text := range once {
			n := len(regexp.MustCompile(text).FindAllString(v.log(), -1))
			if n != 1 {
				t.Errorf("%s: %q is there %d times:\n%s", name, text, n, v.log())
			}
		}
		w.bySockets(t, name, v, w.dir, w.guests[0])
		v.end(t, syscall.SIGTERM)
		out, err := exec.Command(prefix[0], append(prefix[1:], v.cmd.Args[len(prefix)], "check", "-c", filepath.Join(w.dir, "sallyportd.toml"))...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "CAP_BPF") {
			t.Errorf("%s: check: %v\n%s", name, err, out)
		}
	}
}

// withoutBPF starts a program without CAP_BPF, as an engine does that does not know it.
var withoutBPF = []string{"setpriv", fmt.Sprintf("--bounding-set=-cap_%d", 39), fmt.Sprintf("--inh-caps=-cap_%d", 39)}

// TestShieldBySysAdmin: where CAP_BPF cannot be granted, the holder loads the shield
// with CAP_SYS_ADMIN, drops that, and serves one server after another.
func TestShieldBySysAdmin(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	h := startHold(t, w.dir, withoutBPF...)
	effective, permitted := capabilities(t, h.cmd.Process.Pid)
	if effective != capsNetAdmin || permitted != capsNetAdmin {
		t.Errorf("the holder has the capabilities %s, %s", effective, permitted)
	}
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		v := startVictim(t, w.dir)
		w.byShield(t, "before "+s.String(), v, w.guests[0], shieldHost)
		v.end(t, s)
		netns.Until(t, "the shield is detached", func() bool { return !shieldOn(t, shieldLink) }, h.log)
	}
	h.end(t, syscall.SIGTERM)
	// The server's child does the same.
	v := startTool(t, w.dir, withoutBPF, "serve")
	awaitLog(t, v, `msg="shield on"`, 1)
	if effective, _ := capabilities(t, holderOf(t, v.cmd.Process.Pid)); effective != capsNetAdmin {
		t.Errorf("the server's holder has the capabilities %s", effective)
	}
	w.byShield(t, "by the server's holder", v, w.guests[0], shieldHost)
	v.end(t, syscall.SIGTERM)
}

// TestShieldBesideTheFirewall: holder and server run as one user, with the capabilities
// that container/sallyportd-shield.conf grants the holder, and with none. The server may
// not call bpf(2) at all. The holder guards the firewall, too.
func TestShieldBesideTheFirewall(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	w.edit(t, "sallyportd.toml", "[[service]]", "stealth = true\n[[service]]")
	w.edit(t, "sallyportd.toml", "open_for = \"1s\"\nopen_max = \"1s\"", "open_for = \"1h\"\nopen_max = \"1h\"")
	w.giveTo(t, serverUser)
	as := func(capabilities string) []string {
		return []string{
			"setpriv", fmt.Sprintf("--reuid=%d", serverUser), fmt.Sprintf("--regid=%d", serverUser), "--clear-groups", "--no-new-privs",
			"--bounding-set=-all" + capabilities, "--inh-caps=-all" + capabilities, "--ambient-caps=-all" + capabilities,
		}
	}
	hold := func() *victim {
		h := startTool(t, w.dir, as(",+net_admin,+cap_39"), "firewall", "hold")
		awaitLog(t, h, `msg="holding the firewall"`, 1)
		return h
	}
	h := hold()
	v := startTool(t, w.dir, append(as(""), programAs(t, withoutBPFName)), "serve")
	awaitLog(t, v, `msg="shield on"`, 1)
	awaitLog(t, v, "firewall=true", 1)
	w.byShield(t, "beside the firewall", v, w.guests[0], shieldHost)
	h.end(t, syscall.SIGKILL)
	awaitLog(t, v, `msg="shield gone; the sockets go on"`, 1)
	netns.Until(t, "the kernel has detached the shield", func() bool { return !shieldOn(t, shieldLink) }, v.log)
	h = hold()
	awaitLog(t, v, `msg="shield on"`, 2)
	awaitLog(t, v, `msg="firewall holder connected;`, 1)
	w.byShield(t, "with the next holder", v, w.guests[1], shieldHost)
	v.end(t, syscall.SIGTERM)
	h.end(t, syscall.SIGTERM)
}

// TestShieldGrows: a reload with more clients than the shield has room for gets another
// one, and all clients get in.
func TestShieldGrows(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	w.byShield(t, "with few clients", v, w.guests[0], shieldHost)
	w.addClients(t, v, 1<<16+1)
	awaitLog(t, v, `msg="shield on"`, 2)
	w.byShield(t, "of an earlier client", v, w.guests[1], shieldHost)
	if all := traffic(t, w.dir); all["shield_identifier"] != 0 {
		t.Errorf("%d knocks of clients were dropped", all["shield_identifier"])
	}
	v.end(t, syscall.SIGTERM)
}

// TestEarlyShieldStays: a shield that the holder has loaded when it started has room for
// more clients than the server asked for, so a reload with more than that keeps it.
func TestEarlyShieldStays(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startTool(t, w.dir, withoutBPF, "serve")
	awaitLog(t, v, `msg="shield on"`, 1)
	w.byShield(t, "with few clients", v, w.guests[0], shieldHost)
	w.addClients(t, v, 1<<16+1)
	w.byShield(t, "of an earlier client", v, w.guests[1], shieldHost)
	if all := traffic(t, w.dir); all["shield_identifier"] != 0 || strings.Count(v.log(), `msg="shield on"`) != 1 {
		t.Errorf("%d knocks of clients were dropped\n%s", all["shield_identifier"], v.log())
	}
	v.end(t, syscall.SIGTERM)
}

// addClients reloads with n more clients.
func (w *shieldWorld) addClients(t *testing.T, v *victim, n int) {
	t.Helper()
	var many strings.Builder
	for i := range n {
		fmt.Fprintf(&many, "%c%c%c%c secret-%d 0\n", 'A'+i>>12, 'a'+i>>8&0xf, 'a'+i>>4&0xf, 'a'+i&0xf, i)
	}
	w.edit(t, "clients.txt", "com3 ", many.String()+"com3 ")
	v.cmd.Process.Signal(syscall.SIGHUP) // "sallyportd reload" waits only for seconds
	awaitLog(t, v, fmt.Sprintf("clients=%d", n+len(w.guests)), 1)
}
