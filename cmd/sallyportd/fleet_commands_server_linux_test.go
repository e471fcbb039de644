package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/etcdtest"
)

// started is the line of a server that serves. Programs of other tests may have its ports.
const started = `msg=(serving|"no knock port is open")`

// serve starts the server of a host, and returns when it serves.
func (d editor) serve(t *testing.T) (stop func()) {
	t.Helper()
	log, err := os.Create(d.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command("/proc/self/exe", "serve", "-c", d.path(config.FileName))
	c.Args[0], c.Stdout, c.Stderr = "sallyportd", log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	d.logged(t, started)
	return func() { c.Process.Signal(syscall.SIGTERM); c.Wait() }
}

// logged waits for a line in the log of the server.
func (d editor) logged(t *testing.T, pattern string) {
	t.Helper()
	line := regexp.MustCompile("(?m)" + pattern)
	netns.Until(t, pattern, func() bool { return line.MatchString(d.read(t, "log")) }, func() string { return d.read(t, "log") })
}

// TestFleetCommandsServer: the commands wait for the server of their host, which follows the
// changes of others, too.
func TestFleetCommandsServer(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a, b := newEditor(t, e, "a", "/x/", ""), newEditor(t, e, "b", "/x/", "")
	key := "sallyport-clients-key-" + strings.Repeat("ab", 32) + "\n"
	for _, d := range []editor{a, b} {
		d.write(t, "clients_key", key, 0o600)
	}

	// The first list, while the server still has a clients file.
	file := a.write(t, "three.txt", threeClients, 0o600)
	fleet := a.read(t, config.FileName)
	a.write(t, config.FileName, strings.Replace(fleet, `"fleet"`, `"three.txt"`, 1), 0o600)
	stop := a.serve(t)
	a.write(t, config.FileName, fleet, 0o600)
	a.run(t, 0, `has 3 clients.*\nThe running server uses its clients file until it is restarted`, "client", "import", file)
	a.run(t, 1, `is registered in the fleet's list, but not in the running server: .* from a file\nhint: restart the server`, "client", "add", "com4")
	stop()

	a.serve(t)
	a.logged(t, started+" clients=4")
	a.run(t, 0, `^{"identifier":"com5","changed":true,"server":"applied",`, "client", "add", "com5", "--json")
	a.run(t, 0, "may open web.\nThe running server has applied the change", "client", "allow", "com5", "web")
	a.run(t, 0, "Revoked com5. The running server has ended its leases", "client", "revoke", "com5")
	a.run(t, 0, `has 3 clients: 0 added, 0 changed, 1 removed(?s).*The running server has applied`, "client", "import", "--replace", file)
	b.run(t, 0, "", "client", "revoke", "com1")
	a.logged(t, `msg=reloaded what=clients clients=2`)
	if got := a.codes(t); got != "" {
		t.Errorf("check: %s", got)
	}

	// A rotation of the key: the server reads the file at a reload.
	a.run(t, 0, "", "fleet-key", "rotate")
	a.run(t, 0, "", "reload")
	a.run(t, 0, "Sealed the fleet's list.*\nThe running server has applied", "fleet-key", "reseal")
	a.run(t, 0, "", "fleet-key", "drop")
	a.run(t, 0, "", "reload")

	// The list goes back to one in which com2 still was.
	before := snapshotOf(t, e, "/x/clients/")
	a.run(t, 0, "Revoked com2", "client", "revoke", "com2")
	restore(t, e, "/x/clients/", before)
	a.logged(t, "msg=.*list of clients.* refused|refus")
	a.run(t, 1, "etcd went back", "client", "add")
	a.run(t, 0, `The running server has applied version \d+ of the fleet's list, with 2 clients`, "client", "accept")
	a.run(t, 0, "com2", "client", "list")

	// Without etcd, the server of this host revokes.
	e.Kill()
	a.configure(t, fmt.Sprintf("[fleet]\nname = \"a\"\nendpoints = [%q]\nprefix = \"/x/\"\ntimeout = \"100ms\"\n", a.etcd[0]))
	a.run(t, 1, `etcd is unavailable.*\nthe running server has revoked com2, but only until it reads the list again`, "client", "revoke", "com2")
	a.logged(t, "client=com2")
	a.configure(t, "[fleet]\nnome = \"a\"\n")
	a.run(t, 1, `does not know the fleet's etcd\nthe running server has revoked com3, but only until`, "client", "revoke", "com3")
}
