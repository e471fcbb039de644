package page

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// daemonConfig is a server with a web service behind an operation for HTTPS.
const daemonConfig = `version = 1
ports = 3
port_secret_file = "port_secret"
clients = "clients.txt"
user = "root"
[[service]]
name = "wiki"
type = "web"
listen = ":8444"
tls_cert = "cert.pem"
tls_key = "key.pem"
[challenge]
capture = "none"
public_address = ["127.0.0.1", "::1"]
[[challenge.http]]
listen = ":443"
host = "four.test"
tls_cert = "cert.pem"
tls_key = "key.pem"
pages = "pages"
[[operation]]
id = "wiki-alice"
secret = "a correct horse battery staple"
algorithm = 3
service = "wiki"
open_for = "30s"
uses = 1
`

// daemon is a running sallyportd.
type daemon struct {
	t             *testing.T
	program, dir  string
	mu            sync.Mutex
	log           bytes.Buffer
	configuration string
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *daemon) logged(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(d.log.String(), text)
}

// run runs a command of sallyportd, and returns what it prints.
func (d *daemon) run(args ...string) []byte {
	d.t.Helper()
	c := exec.Command(d.program, args...)
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		d.t.Fatalf("%v: %v\n%s%s", args, err, out, &problems)
	}
	return out
}

// certificate writes cert.pem and key.pem for a host.
func certificate(t *testing.T, dir, host string) {
	t.Helper()
	c := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN="+host,
		"-addext", "subjectAltName=DNS:"+host, "-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// startDaemon builds sallyportd, and starts it.
func startDaemon(t *testing.T, configuration string) *daemon {
	t.Helper()
	dir := t.TempDir()
	d := &daemon{t: t, program: filepath.Join(dir, "sallyportd"), dir: filepath.Join(dir, "server")}
	if out, err := exec.Command("go", "build", "-o", d.program, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	from := filepath.Join(dir, "from.toml")
	if err := os.WriteFile(from, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run("init", d.dir, "--from", from, "--server", "four.test")
	d.configuration = filepath.Join(d.dir, "sallyportd.toml")
	if err := os.Mkdir(filepath.Join(d.dir, "pages"), 0o700); err != nil {
		t.Fatal(err)
	}
	certificate(t, d.dir, "four.test")
	c := exec.Command(d.program, "serve", "-c", d.configuration)
	c.Stderr = d
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		c.Wait()
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	for range 1000 {
		if d.logged("msg=serving") && d.logged(`msg="carrier listening"`) {
			return d
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not serve")
	return nil
}

// TestDaemon: sallyportd serves a page, and the page opens a service, for a browser that
// has nothing else.
func TestDaemon(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	if !netns.Enter(t) {
		return
	}
	d := startDaemon(t, daemonConfig)
	var made pageResult
	printed := d.run("operation", "page", "wiki-alice", "-c", d.configuration, "--serve", "--json")
	if err := json.Unmarshal(printed, &made); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	reached := func() bool {
		r, err := client.Get("https://127.0.0.1:8444/")
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	}
	if reached() {
		t.Fatal("the service is open")
	}
	p := startBrowser(t).open(t)
	p.visit(made.URL)
	p.submit(made.Passphrase)
	if got := p.text("status"); got != "Service wiki is open. It answers." {
		t.Errorf("the page shows %q", got)
	}
	if got := p.text("link"); got != "https://four.test:8444/" || !reached() {
		t.Errorf("the link is %q, the service is reached: %t", got, reached())
	}
	want := map[string]bool{"GET " + made.URL: true, "POST https://four.test/": true, "GET https://four.test:8444/": true, "GET data:,": true}
	for _, r := range p.requests {
		if !want[r] {
			t.Errorf("the page sent %s", r)
		}
	}
	if got := p.text("uses"); got != "This was the only use." {
		t.Errorf("the page shows %q", got)
	}

	// The operation is used up: a new exchange gets no challenge.
	p.visit(made.URL)
	p.submit(made.Passphrase)
	if got := p.text("status"); !strings.Contains(got, "has been used already") {
		t.Errorf("after the only use, the page shows %q", got)
	}

	// Without the file, the page is gone: the path is one of the site.
	if err := os.Remove(made.File); err != nil {
		t.Fatal(err)
	}
	d.run("reload", "-c", d.configuration)
	status := func(path string) string {
		r, err := client.Get("https://127.0.0.1" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		r.Header.Del("Date")
		return fmt.Sprint(r.StatusCode, r.Header)
	}
	got, want404 := status(strings.TrimPrefix(made.URL, "https://four.test")), status("/x")
	if got != want404 || !strings.HasPrefix(got, "404") {
		t.Errorf("the path of the page gets %s, another one %s", got, want404)
	}
}

// pageResult is what "operation page" prints for programs.
type pageResult struct {
	File       string `json:"page_file"`
	URL        string `json:"url"`
	Passphrase string `json:"passphrase"`
}
