package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestInsidersDoNotFloodTheLog: 100 clients get in as fast as their limits allow, from many
// addresses, with replays, for leases of a second. The log stays below 10 lines a second; each
// line that is missing is reported; and the grant of an honest client is logged, and a
// revocation.
func TestInsidersDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const insiders, length = 100, 12 * time.Second
	dir := t.TempDir()
	honest := makeGuests(t, dir)[0]
	var list strings.Builder
	fmt.Fprintf(&list, "com0 secret-0 0\n")
	var all []*guest
	for i := range insiders {
		profile := honest.profile
		profile.Identifier, profile.Secret = wire.Identifier([]byte(fmt.Sprintf("i%03d", i))), []byte(fmt.Sprint("insider", i))
		all = append(all, &guest{profile, client.NonceFile{Path: filepath.Join(dir, profile.Identifier.String()+".nonce")}, nil})
		fmt.Fprintf(&list, "%s insider%d 0\n", profile.Identifier, i)
	}
	path := filepath.Join(dir, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{path: string(text) + "open_for = \"1s\"\n", filepath.Join(dir, config.ClientsName): list.String()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", "serve", "-c", path)
	cmd.Args[0] = "sallyportd"
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	began := time.Now()
	var mu sync.Mutex
	var lines []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			mu.Lock()
			lines = append(lines, s.Text())
			mu.Unlock()
		}
	}()
	log := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
	logged := func(part string) func() bool { return func() bool { return strings.Contains(log(), part) } }
	netns.Until(t, "it serves", logged("msg=serving"), log)

	var flood sync.WaitGroup
	over := make(chan struct{})
	stop := sync.OnceFunc(func() { close(over); flood.Wait() })
	t.Cleanup(stop)
	for worker := range 4 {
		flood.Go(func() {
			for i := worker; ; i = (i + 4) % insiders {
				select {
				case <-over:
					return
				default:
				}
				a := all[i].attempt(t)
				a.send(t, a.from)
				a.send(t, a.from) // again: replays
			}
		})
	}
	netns.Until(t, "lines are left out", func() bool {
		s, err := (admin.Conn{Socket: filepath.Join(dir, "sallyportd.sock")}).Status(t.Context())
		return err == nil && s.Counters["log_left_out"] > 500
	}, log)
	a := honest.attempt(t)
	a.send(t, a.from)
	netns.Until(t, "the grant of the honest client is logged", logged("msg=opened service=web client=com0"), log)
	revoke := exec.Command("/proc/self/exe", "client", "revoke", "-c", path, "i007")
	revoke.Args[0] = "sallyportd"
	if out, err := revoke.CombinedOutput(); err != nil {
		t.Errorf("client revoke: %v: %s", err, out)
	}
	netns.Until(t, "the revocation is logged", logged(`msg="client revoked" client=i007`), log)
	for _, event := range []string{"opened", "closed", `"knock denied"`} {
		netns.Until(t, event+" is logged", logged("msg="+event+" "), log)
	}
	time.Sleep(time.Until(began.Add(length))) // the longer, the less the first second counts
	stop()
	cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	if err := cmd.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	took := time.Since(began)
	left := 0
	for _, line := range lines {
		if _, number, ok := strings.Cut(line, " left_out="); ok {
			var n int
			fmt.Sscan(number, &n)
			left += n
		}
	}
	t.Logf("%d lines in %s, %d reported as left out", len(lines), took.Round(time.Millisecond), left)
	if float64(len(lines)) >= 10*took.Seconds() {
		t.Errorf("%d lines in %s", len(lines), took)
	}
	if left < 500 || !strings.Contains(log(), `msg="log lines left out"`) {
		t.Errorf("%d lines reported as left out\n%s", left, log())
	}
}
