package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestUnixUpstream: a client gets a page from a program that listens on a Unix socket
// only. The server's own socket for the administrator is not an upstream, whatever
// name leads to it.
func TestUnixUpstream(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	guest := makeGuests(t, dir)[0]
	path := filepath.Join(dir, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(dir, "alias")
	if err := os.Symlink(filepath.Dir(cfg.AdminSocket), alias); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "app.socket")
	for i, upstream := range []string{socket, filepath.Join(alias, filepath.Base(cfg.AdminSocket))} {
		text = fmt.Appendf(text, "[[service]]\nname = \"app%d\"\ntype = \"proxy\"\nlisten = \"127.0.0.1:808%d\"\nupstream = \"unix:%s\"\n", i, i+1, upstream)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	app := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from %s", r.URL.Path, r.RemoteAddr)
	})}
	go app.Serve(l)
	defer app.Close()

	v := startVictim(t, dir)
	defer v.stop(t, 1)
	a := guest.attempt(t)
	a.send(t, a.from)
	netns.Until(t, "the services open", func() bool { return strings.Count(v.log(), "msg=opened") == 3 }, v.log)
	get := func(port int, path string) (string, error) {
		from := &net.TCPAddr{IP: net.ParseIP(a.from)}
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, address)
		}}}
		r, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	if body, err := get(8081, "/page"); err != nil || !strings.HasPrefix(body, "/page from ") {
		t.Errorf("%q, %v", body, err)
	}
	if body, err := get(8082, "/"); err == nil {
		t.Errorf("the administrator's socket answers: %q", body)
	}
	netns.Until(t, "a line about the administrator's socket", func() bool {
		return strings.Contains(v.log(), "it is a socket of this server")
	}, v.log)
}
