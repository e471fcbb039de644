package guides

import (
	"fmt"
	"os"
	"strings"
	"time"

	"sallyport/bench/netns"
)

// fail2ban starts a real one, with the jail for sshd of Debian.
func (w *world) fail2ban() {
	w.t.Helper()
	ready := func(out string) bool { return strings.Contains(out, "Server ready") }
	if err := w.server.runOn("fail2ban-server -xf start", ready); err != nil {
		w.t.Fatalf("fail2ban: %v", err)
	}
}

// recipes checks what the recipes of a guide promise, when the guide's commands have
// run. The client has a lease then, or gets one.
func (w *world) recipes() {
	w.t.Helper()
	const stranger = "203.0.113.77"
	w.client.must("sallyport knock --watch none ./alice.toml")
	leases := func() string { return w.server.must("ls /run/sallyport-leases/no-ban") }
	netns.Until(w.t, "the file of the lease", func() bool { return strings.HasSuffix(strings.TrimSpace(leases()), ","+clientAddress) })
	// More failures than sshd's jail allows, while the lease is in force.
	var lines strings.Builder
	for i := range 6 {
		for _, address := range []string{clientAddress, stranger} {
			fmt.Fprintf(&lines, "%s gate sshd[%d]: Failed password for root from %s port 22 ssh2\n", time.Now().UTC().Format(time.Stamp), 100+i, address)
		}
	}
	if err := os.WriteFile("/var/log/auth.log", []byte(lines.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	var banned string
	netns.Until(w.t, "the ban of the stranger", func() bool {
		banned = w.server.must("fail2ban-client get sshd banned")
		return strings.Contains(banned, stranger)
	})
	if strings.Contains(banned, clientAddress) {
		w.t.Errorf("fail2ban has banned an address with a lease: %s", banned)
	}
	netns.Until(w.t, "the end of the lease", func() bool { return leases() == "" })
}
