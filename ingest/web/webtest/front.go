package webtest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Front is a web server of a recipe, with the addresses and paths of a test instead of
// those of an operator.
type Front struct {
	Recipes  string     // the directory of the recipes
	Plain    bool       // without the marked lines, as the site was before
	Upstream string     // where the server for exchanges listens
	Root     string     // of the site's files
	Host     string     // of the site
	Address  netip.Addr // zero: 127.0.0.1
	App      string     // where the application that takes forms listens; nginx only
	// Cert and Key are PEM files; empty, with Caddy only: without TLS.
	Cert, Key string
}

// marked are the lines that a recipe adds to the configuration of a site.
var marked = regexp.MustCompile(`(?ms)^\s*# sallyport: begin$.*?^\s*# sallyport: end$\n`)

// recipe returns a recipe with some texts replaced by those of a test.
func (f Front) recipe(t testing.TB, file string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Recipes, file))
	if err != nil {
		t.Fatal(err)
	}
	if f.Plain {
		if !marked.Match(text) {
			t.Fatalf("%s has no marked lines", file)
		}
		text = marked.ReplaceAll(text, nil)
	}
	for i := 0; i < len(replace); i += 2 {
		if !f.Plain && !bytes.Contains(text, []byte(replace[i])) {
			t.Fatalf("%s has no %q", file, replace[i])
		}
		text = bytes.ReplaceAll(text, []byte(replace[i]), []byte(replace[i+1]))
	}
	return string(text)
}

func (f Front) address() netip.Addr {
	if f.Address.IsValid() {
		return f.Address
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// nginxPath is where Debian has nginx.
const nginxPath = "/usr/sbin/nginx"

// Nginx runs nginx, and returns its address. The test skips without nginx.
func (f Front) Nginx(t *testing.T) netip.AddrPort {
	t.Helper()
	version, err := exec.Command(nginxPath, "-v").CombinedOutput()
	if err != nil {
		t.Skip("needs nginx")
	}
	listen := "listen %s ssl http2;"
	if m := regexp.MustCompile(`nginx/1[.](\d+)[.](\d+)`).FindSubmatch(version); m != nil {
		minor, _ := strconv.Atoi(string(m[1]))
		patch, _ := strconv.Atoi(string(m[2]))
		if minor > 25 || minor == 25 && patch >= 1 {
			listen = "listen %s ssl; http2 on;" // as the recipe's comment has it
		}
	}
	return RunAt(t, f.address(), func(at netip.AddrPort, directory string) *exec.Cmd {
		site := f.recipe(t, "nginx-site.conf", "listen 443 ssl http2;", fmt.Sprintf(listen, at), "127.0.0.1:8081", f.Upstream,
			"127.0.0.1:8080", f.App, "/srv/www", f.Root, "/etc/ssl/www.example.org.pem", f.Cert, "/etc/ssl/www.example.org.key", f.Key)
		config := filepath.Join(directory, "nginx.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, `
user root;
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  types { text/html html; }
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  %[2]s
}
`, directory, site), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(nginxPath, "-c", config, "-p", directory)
	})
}

// Caddy runs Caddy, and returns its address. The test skips without Caddy.
func (f Front) Caddy(t *testing.T) netip.AddrPort {
	t.Helper()
	path, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("needs caddy")
	}
	_, fallback, err := net.SplitHostPort(Closed(t))
	if err != nil {
		t.Fatal(err)
	}
	return RunAt(t, f.address(), func(at netip.AddrPort, directory string) *exec.Cmd {
		scheme, options := "http", ""
		if f.Cert != "" {
			scheme, options = "https", fmt.Sprintf("\n\ttls %s %s", f.Cert, f.Key)
		}
		begin := fmt.Sprintf("%s://%s:%d {\n\tbind %s%s", scheme, f.Host, at.Port(), at.Addr(), options)
		site := f.recipe(t, "Caddyfile.site", "www.example.org {", begin, "127.0.0.1:8081", f.Upstream, "8082", fallback, "/srv/www", f.Root)
		config := filepath.Join(directory, "Caddyfile")
		if err := os.WriteFile(config, []byte("{\n\tadmin off\n\tauto_https off\n}\n"+site), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(path, "run", "--config", config, "--adapter", "caddyfile")
		command.Env = append(os.Environ(), "HOME="+directory, "XDG_DATA_HOME="+directory, "XDG_CONFIG_HOME="+directory)
		return command
	})
}

// Closed returns an address at which nothing listens.
func Closed(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// KeyFile writes a private key to a PEM file.
func KeyFile(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
