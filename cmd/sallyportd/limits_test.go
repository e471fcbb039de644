package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestCheckCertificates: a warning names a certificate that has expired, or will
// within 30 days.
func TestCheckCertificates(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Unix(1_800_000_000, 0)
	for _, row := range []struct {
		from, until time.Duration
		want        string
	}{
		{-day, 31 * day, ""}, {-day, 30*day + time.Hour, ""}, {-day, 29*day + time.Hour, "in 29 days"}, {-day, 30 * time.Hour, "in 1 day"},
		{-9 * day, -day, "expired at"}, {day, 90 * day, "is valid from"},
	} {
		dir := t.TempDir()
		makeCertificate(t, dir, now.Add(row.from), now.Add(row.until))
		cfg := configtest.Parse(t, "", fmt.Sprintf("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\ntls_cert = %q\ntls_key = %q\n",
			filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
		got := texts(checkCertificates(cfg, envAt(now)))
		if row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s to %s: %q, want %q", row.from, row.until, got, row.want)
		}
	}
}

func makeCertificate(t *testing.T, dir string, from, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCheckDescriptors: each socket of a knock port counts.
func TestCheckDescriptors(t *testing.T) {
	now := time.Unix(1_800_000_030, 0)
	cfg := configtest.Parse(t, "", "listen = [\"192.0.2.1\", \"192.0.2.2\"]\nreaders = 8\n"+configtest.Web)
	minutes := 4 // a tolerance of a minute, and the minute that begins
	want := cfg.Ports*minutes*8*2 + 1 + otherDescriptors
	if got := texts(checkDescriptors(cfg, now, uint64(want)-1)); !strings.Contains(got, "8 readers, 2 addresses") {
		t.Errorf("one too few: %q", got)
	}
	if got := texts(checkDescriptors(cfg, now, uint64(want))); got != "" {
		t.Errorf("enough: %q", got)
	}
	// Strangers may have these without a proof, and the knock ports need theirs each minute.
	proves := configtest.Parse(t, "", "listen = [\"192.0.2.1\", \"192.0.2.2\"]\nreaders = 8\n"+configtest.Web+"bind = \"connection\"\n")
	if needed, _, _, _ := descriptorsNeeded(proves, now); needed != want+1024 {
		t.Errorf("with connections without a proof: %d", needed)
	}
	cfg.PortSecret.Previous, cfg.PortSecret.Until = "old", now.Add(time.Hour)
	if needed, _, _, _ := descriptorsNeeded(cfg, now); needed != want+cfg.Ports*minutes*8*2 {
		t.Errorf("with a previous secret: %d", needed)
	}
}

// TestCheckUpstreams: a name that does not resolve is a mistake; a program that
// does not listen may still be starting.
func TestCheckUpstreams(t *testing.T) {
	const head = "  sl  local_address rem_address   st\n"
	proc := fstest.MapFS{
		"tcp":  {Data: []byte(head + "   0: 0100007F:0016 00000000:0000 0A\n   1: 00000000:0050 00000000:0000 0A\n   2: 0100007F:0017 0100007F:9999 01\n")},
		"tcp6": {Data: []byte(head + "   0: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A\n")},
		"udp":  {Data: []byte(head)},
	}
	proxyTo := func(upstream string) string {
		return "[[service]]\nname = \"one\"\ntype = \"proxy\"\nlisten = \":8080\"\nupstream = \"" + upstream + "\"\n"
	}
	behind := func(listen string) string {
		return "[[service]]\nname = \"one\"\ntype = \"firewall\"\nlisten = \"" + listen + "\"\n"
	}
	program := func(upstream string) string {
		return "[[service]]\nname = \"one\"\ntype = \"process\"\nlisten = \":8080\"\nprogram = [\"/bin/true\"]\nprogram_user = \"games\"\nupstream = \"" + upstream + "\"\n"
	}
	const via = "bind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n"
	second := func(upstream string) string {
		return strings.NewReplacer("one", "two", ":8080", ":8090").Replace(proxyTo(upstream))
	}
	dir := t.TempDir()
	for _, name := range []string{"socket", "a socket", "stale", "link"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	if err := os.Symlink(dir, dir+".link"); err != nil {
		t.Fatal(err)
	}
	proc["unix"] = &fstest.MapFile{Data: []byte("Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 21342 " + dir + "/socket\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 21343 " + dir + "/a socket\n" +
		"0000000000000000: 00000002 00000000 00010000 0005 01 21344 " + dir + "/stale\n" + // packets
		"0000000000000000: 00000003 00000000 00000000 0001 03 21345 " + dir + "/stale\n" + // a connection
		"0000000000000000: 00000003 00000000 00000000 0001 03 21346\n")}
	for _, row := range []struct{ service, want string }{
		{proxyTo("unix:" + dir + "/socket"), ""},
		{proxyTo("unix:" + dir + "/a socket"), ""},
		{proxyTo("unix:" + dir + ".link/socket"), ""},
		{proxyTo("unix:" + dir + "/stale"), "no program on this host listens at its upstream unix:" + dir + "/stale"},
		{proxyTo("unix:" + dir + "/absent"), "no program on this host listens at its upstream unix:" + dir + "/absent"},
		{proxyTo("unix:" + dir), "the upstream unix:" + dir + " is not a socket"},
		{proxyTo("unix:" + dir + "/socket/x"), "not a directory"},
		{proxyTo("127.0.0.1:22"), ""},
		{proxyTo("127.0.0.1:80"), ""},
		{proxyTo("127.0.0.1:23"), "no program on this host listens at its upstream 127.0.0.1:23"}, // connected, not listening
		{proxyTo("[::1]:25"), ""},
		{proxyTo("[::1]:26"), "no program on this host listens at its upstream"},
		{proxyTo("192.0.2.1:23"), ""},
		{proxyTo("host.invalid:22"), `cannot resolve the upstream "host.invalid:22"`},
		{program("127.0.0.1:8081") + second("127.0.0.1:8081"), "service two leads to the program of service one: its clients reach that program without a lease of service one"},
		{program("127.0.0.1:8081") + second("localhost:8081"), "service two leads to the program of service one"},
		{program("unix:"+dir+"/absent") + second("unix:"+dir+"/absent"), "service two leads to the program of service one"},
		{program("127.0.0.1:8081") + second("127.0.0.1:22"), ""},
		{program("inherit") + second("127.0.0.1:22"), ""},
		{behind(":80"), ""}, {behind("127.0.0.1:22"), ""}, {behind("192.0.2.1:22"), "no program on this host listens on tcp port 22"},
		{behind(":81"), "no program on this host listens on tcp port 81"},
		{behind(":81") + "hook = \"forward\"\n", ""},
		{behind(":22") + via, ""}, {behind("127.0.0.1:22") + via, ""}, {behind(":80") + via, ""},
		{behind(":25") + via, "no program on this host listens at 127.0.0.1:25, to which the proxy at via_port connects"},
		{behind("192.0.2.1:22") + via, "no program on this host listens at 192.0.2.1:22, to which"},
	} {
		got := texts(checkUpstreams(t.Context(), configtest.Parse(t, "", row.service), proc))
		if row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, want %q", row.service, got, row.want)
		}
	}
	if got := checkUpstreams(t.Context(), configtest.Parse(t, "", behind(":81")), fstest.MapFS{}); got != nil {
		t.Errorf("without /proc: %q", got)
	}
}

// TestCheckProgramLimits: each service counts once.
func TestCheckProgramLimits(t *testing.T) {
	cfg := configtest.Parse(t, "", `
[[service]]
name = "site"
type = "process"
listen = ":8443"
program = ["/usr/bin/site"]
program_user = "54321"
upstream = "inherit"
on_open = ["/bin/true"]
command_user = "54321"
[[service]]
name = "hook"
type = "command"
on_open = ["/bin/true"]
command_user = "54321"
max_files = 99
`)
	for limit, want := range map[uint64]string{1024: "", 1023: "programs of site get 1023 at most", 98: "programs of site, hook get 98 at most"} {
		if got := texts(checkProgramLimits(cfg, limit)); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("limit %d: expected %q, got %q", limit, want, got)
		}
	}
}
