package guides

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// world is the reader's two hosts, joined by a cable:
//
//	client 203.0.113.9 --- 203.0.113.5 server, gate.example.org
type world struct {
	t              *testing.T
	server, client *session
}

// needs lists what a guide finds on its hosts.
type needs struct {
	tools    string // programs of other projects; without one, the test is skipped
	programs bool   // both programs are installed
	root     bool   // the host's root, with another /etc, and empty /run, /srv and /var
	ssh      bool   // a real sshd on the server, to which root at the client has a key
	tpm      bool   // the client has a TPM
	gate     bool   // a server runs from the configuration gate/sallyportd.toml; the client has alice.toml, and new.toml of the same client
}

const (
	serverAddress = "203.0.113.5"
	clientAddress = "203.0.113.9"
	serverName    = "gate.example.org"
)

// goEnvironment is the part of Go's environment that does not follow HOME. With
// -trimpath, what Go has compiled in one copy of the checkout serves all.
func goEnvironment(t *testing.T) (environment []string, bin string) {
	t.Helper()
	out, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOPATH", "GOROOT", "GOFLAGS", "GOPROXY").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	var env map[string]string
	if err := json.Unmarshal(out, &env); err != nil {
		t.Fatal(err)
	}
	env["GOFLAGS"] = strings.TrimSpace(env["GOFLAGS"] + " -trimpath")
	for name, value := range env {
		environment = append(environment, name+"="+value)
	}
	return environment, filepath.Join(env["GOROOT"], "bin")
}

func newWorld(t *testing.T, n needs) *world {
	t.Helper()
	w := &world{t: t}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	client := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "toclient", Addresses: []string{serverAddress + "/24"}}, client,
		netns.End{Name: "toserver", Addresses: []string{clientAddress + "/24"}})

	environment, bin := goEnvironment(t)
	checkout := path("sallyport")
	w.copyCheckout(checkout)
	if n.root {
		w.emptyHost(path("etc"))
	}
	w.write(path("hosts"), "127.0.0.1 localhost\n"+serverAddress+" "+serverName+"\n")
	w.mount(path("hosts"), "/etc/hosts", "", unix.MS_BIND)
	w.mount("tmpfs", "/usr/local/bin", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	tools := path("tools")
	w.makeDir(tools)
	for _, name := range []string{"ssh", "scp"} {
		w.write(filepath.Join(tools, name), fmt.Sprintf("#!/bin/sh\nexec /usr/bin/%s -F \"$HOME/.ssh/config\" -i \"$HOME/.ssh/id_ed25519\""+
			" -o BatchMode=yes -o UserKnownHostsFile=\"$HOME/.ssh/known_hosts\" -o GlobalKnownHostsFile=/dev/null \"$@\"\n", name))
		if err := os.Chmod(filepath.Join(tools, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	environment = append(environment, "PATH="+tools+":"+bin+":/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GORACE=atexit_sleep_ms=0",
		"LC_ALL=C.UTF-8")
	w.server = newSession(t, nil, path("root"), checkout, environment)
	begin := path("alice")
	if n.root {
		begin = checkout
	}
	w.client = newSession(t, client, path("alice"), begin, environment)
	for _, s := range []*session{w.server, w.client} {
		s.write(s.path("~/.ssh/config"), "")
	}
	if n.programs {
		w.server.must("install '" + os.Getenv(programs) + "'/* /usr/local/bin/")
	}
	if n.ssh {
		w.sshd(path)
	}
	if n.root {
		w.fail2ban()
	}
	if n.gate {
		w.gate()
	}
	if n.tpm {
		w.tpm(path("tpm"))
	}
	return w
}

// copyCheckout makes a directory that holds what the checkout holds, and in
// which the reader may write beside it.
func (w *world) copyCheckout(to string) {
	w.t.Helper()
	from, err := filepath.Abs(root)
	if err != nil {
		w.t.Fatal(err)
	}
	w.makeDir(to)
	w.mount("tmpfs", to, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	entries, err := os.ReadDir(from)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		there := filepath.Join(to, e.Name())
		switch {
		case e.Name() == ".git", e.Name() == "bin":
			continue
		case e.IsDir():
			w.makeDir(there)
		case e.Type().IsRegular():
			w.write(there, "")
		default:
			continue
		}
		w.mount(filepath.Join(from, e.Name()), there, "", unix.MS_BIND|unix.MS_REC)
	}
}

// emptyHost makes a copy of /etc, in which users can be added, and the directories of a
// host on which no program runs.
func (w *world) emptyHost(etc string) {
	w.t.Helper()
	w.makeDir(etc)
	w.mount("tmpfs", etc, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	if out, err := exec.Command("cp", "-a", "/etc/.", etc).CombinedOutput(); err != nil {
		w.t.Fatalf("copy /etc: %v\n%s", err, out)
	}
	w.mount(etc, "/etc", "", unix.MS_BIND)
	for _, dir := range []string{"/run", "/srv", "/var"} {
		w.mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	}
	for _, dir := range []string{"/var/log", "/var/lib/nginx", "/var/log/nginx", "/var/lib/fail2ban", "/run/fail2ban", "/run/lock"} {
		w.makeDir(dir)
	}
	if err := os.Symlink("/run", "/var/run"); err != nil {
		w.t.Fatal(err)
	}
	w.write("/var/log/auth.log", "") // fail2ban's jail for sshd reads it
}

// sshd starts a real one on the server. A user that logs in begins in the
// server's home.
func (w *world) sshd(path func(string) string) {
	w.t.Helper()
	w.mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV)
	w.makeDir("/run/sshd")
	w.server.must(fmt.Sprintf("ssh-keygen -q -t ed25519 -N '' -f '%s'", path("host_key")))
	w.client.must(`ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"`)
	w.write(path("sshd_config"), fmt.Sprintf("Port 22\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\n"+
		"PasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp -d %s\n",
		path("host_key"), filepath.Join(w.client.home, ".ssh/id_ed25519.pub"), w.server.home))
	key, err := os.ReadFile(path("host_key.pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(w.client.path("~/.ssh/known_hosts"), serverName+" "+string(key))
	listens := func(string) bool {
		out, err := w.client.run("ssh root@" + serverName + " true")
		return err == nil && out == ""
	}
	if err := w.server.runOn(fmt.Sprintf("/usr/sbin/sshd -D -e -f '%s'", path("sshd_config")), listens); err != nil {
		w.t.Fatalf("sshd: %v", err)
	}
}

// gate starts a server, as the README's reader does.
func (w *world) gate() {
	w.t.Helper()
	w.server.must("sallyportd init gate --server " + serverName)
	w.server.must("sallyportd client add -c gate/sallyportd.toml --out alice.toml")
	w.server.must("sallyportd client profile $(sed -n \"s/^identifier = .\\(.*\\).$/\\1/p\" alice.toml) -c gate/sallyportd.toml --out new.toml")
	w.server.must("cp alice.toml new.toml '" + w.client.home + "/'")
	serves := func(out string) bool { return strings.Contains(out, "msg=serving ") }
	if err := w.server.runOn("sallyportd serve -c gate/sallyportd.toml", serves); err != nil {
		w.t.Fatalf("the server: %v", err)
	}
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) makeDir(path string) {
	w.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// mount mounts in this test's mount namespace. A mount in the test's own directory
// is unmounted before the directory is removed.
func (w *world) mount(source, target, kind string, flags uintptr) {
	w.t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		w.t.Fatalf("mount %s at %s: %v", source, target, err)
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			w.t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// canLogIn reports whether sshd lets root in, as login would.
func canLogIn(t *testing.T) bool {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	entry, err := exec.Command("getent", "passwd", me.Uid).Output()
	return err == nil && !strings.Contains(string(entry), "nologin") && !strings.Contains(string(entry), "/false")
}
