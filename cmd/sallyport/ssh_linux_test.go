package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// TestSSHThroughProxyCommand runs a real sshd and a real ssh with the ProxyCommand
// "sallyport connect", on the loopback. As root, sshd requires root's privileges to
// change users; as another user, it requires none.
func TestSSHThroughProxyCommand(t *testing.T) {
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("needs sshd")
	}
	if os.Getuid() == 0 {
		if !enterPrivileged(t) {
			return
		}
		runForSSHD(t)
	} else {
		t.Parallel()
		build(t)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	// sshd accepts only users with a login shell.
	entry, err := exec.Command("getent", "passwd", me.Uid).Output()
	if err != nil || strings.Contains(string(entry), "nologin") || strings.Contains(string(entry), "/false") {
		t.Skipf("the user %s cannot log in: %s", me.Username, entry)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+path("state"), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	port := func() int {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	write := func(name, format string, args ...any) {
		t.Helper()
		if err := os.WriteFile(path(name), fmt.Appendf(nil, format, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := func(waitFor func() bool, name string, args ...string) {
		t.Helper()
		log, err := os.Create(path(filepath.Base(name) + ".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait(); log.Close() })
		netns.Until(t, name, waitFor, func() string {
			text, _ := os.ReadFile(log.Name())
			return string(text)
		})
	}

	for name, program := range map[string]string{"sallyport": "client/sallyport", "sallyportd": "server/sallyportd"} {
		if err := os.Symlink(filepath.Join(os.Getenv(programs), program), path(name)); err != nil {
			t.Fatal(err)
		}
	}
	run(path("sallyportd"), "init", path("gate"), "--server", "127.0.0.1")
	config := filepath.Join(path("gate"), "sallyportd.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	webPort, sshPort := port(), port()
	text = []byte(strings.Replace(string(text), "[::]:8080", fmt.Sprintf("127.0.0.1:%d", webPort), 1))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run(path("sallyportd"), "client", "add", "-c", config, "--out", path("work.toml"))
	start(func() bool {
		text, _ := os.ReadFile(path("sallyportd.log"))
		return strings.Contains(string(text), "msg=serving")
	}, path("sallyportd"), "serve", "-c", config)

	for _, key := range []string{"host_key", "user_key"} {
		run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path(key))
	}
	public, err := os.ReadFile(path("user_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write("authorized_keys", "%s", public)
	write("sshd_config", "ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nLogLevel VERBOSE\n",
		sshPort, path("host_key"), path("authorized_keys"))
	start(func() bool {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", sshPort))
		if err == nil {
			c.Close()
		}
		return err == nil
	}, sshd, "-D", "-e", "-f", path("sshd_config"))
	write("ssh_config", `Host passed
  ProxyCommand %[1]s connect --fdpass %[2]s %%h %%p
  ProxyUseFdpass yes
Host work
  ProxyCommand %[1]s connect %[2]s %%h %%p
Host *
  HostName 127.0.0.1
  Port %[3]d
  User %[4]s
  IdentityFile %[5]s
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
`, path("sallyport"), path("work.toml"), sshPort, me.Username, path("user_key"))
	connections := func() int {
		text, err := os.ReadFile(path("sshd.log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "Connection from ")
	}
	netns.Until(t, "the line about the connection above", func() bool { return connections() == 1 })
	// The watch at sshd is no connection there.
	work, err := os.ReadFile(path("work.toml"))
	if err != nil {
		t.Fatal(err)
	}
	watched := strings.Replace(string(work), fmt.Sprintf(":%d", webPort), fmt.Sprintf(":%d", sshPort), 1)
	write("ssh.toml", "%s", watched)
	opened := run(path("sallyport"), "knock", path("ssh.toml"))
	if !strings.Contains(opened, fmt.Sprintf("open: 127.0.0.1:%d", sshPort)) {
		t.Errorf("knock printed %q", opened)
	}
	// The connection is passed to ssh: nothing of ours stays.
	passed := exec.CommandContext(t.Context(), "ssh", "-F", path("ssh_config"), "passed", "echo $SSH_CONNECTION; cat")
	passed.Env = append(os.Environ(), "XDG_STATE_HOME="+path("state"), "GORACE=atexit_sleep_ms=0")
	sessionOwnsConnection(t, passed, path("sallyport"))
	got := run("ssh", "-F", path("ssh_config"), "work", "echo", "hello from behind")
	if !strings.Contains(got, "hello from behind") {
		t.Errorf("ssh printed %q", got)
	}
	// One login is one connection: the client makes no other one to check sshd.
	if n := connections() - 1; n != 2 {
		text, _ := os.ReadFile(path("sshd.log"))
		t.Errorf("sshd had %d connections for two logins and a knock:\n%s", n, text)
	}
	log, _ := os.ReadFile(path("sallyportd.log"))
	if !strings.Contains(string(log), "msg=opened") {
		t.Errorf("the server did not open:\n%s", log)
	}
}
