package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestCheckSites: "check" finds a host and an upstream that do not resolve, a host that is
// elsewhere, an upstream on this host that does not listen, and pages that others can list.
func TestCheckSites(t *testing.T) {
	t.Parallel()
	listening := fstest.MapFS{"tcp": &fstest.MapFile{Data: []byte("sl\n 0: 0100007F:1F90 00000000:0000 0A\n")}}
	here := map[string]string{"www.example.org.": "192.0.2.1", "site": "127.0.0.1", "other": "198.51.100.7"}
	with := func(line string) func(string) string {
		return func(text string) string { return strings.Replace(text, "host =", line+"\nhost =", 1) }
	}
	open, closed := pagesDir(t, 0o755), pagesDir(t, 0o700)
	for name, row := range map[string]struct {
		change   func(string) string
		resolver fakeResolver
		want     string // codes, and a part of the first text
	}{
		"all is right":            {with(`upstream = "http://127.0.0.1:8080"`), fakeResolver{addresses: here}, ""},
		"host without addresses":  {nil, fakeResolver{}, `carrier-host-unresolved: cannot resolve host = "www.example.org"`},
		"host elsewhere":          {nil, fakeResolver{addresses: map[string]string{"www.example.org.": "198.51.100.7"}}, "carrier-host-elsewhere: 198.51.100.7"},
		"host of a proxy":         {with(`trusted_proxies = ["10.0.0.1/32"]`), fakeResolver{addresses: map[string]string{"www.example.org.": "198.51.100.7"}}, ""},
		"silent upstream":         {with(`upstream = "http://127.0.0.1:8081"`), fakeResolver{addresses: here}, "no-listener: port 8081 of 127.0.0.1"},
		"silent upstream, TLS":    {with(`upstream = "https://localhost:444"`), fakeResolver{addresses: map[string]string{"www.example.org.": "192.0.2.1", "localhost": "127.0.0.1"}}, "no-listener: port 444 of localhost"},
		"named upstream":          {with(`upstream = "http://site:8080"`), fakeResolver{addresses: here}, ""},
		"silent, named upstream":  {with(`upstream = "http://site"`), fakeResolver{addresses: here}, "no-listener: port 80 of site"},
		"upstream elsewhere":      {with(`upstream = "http://other:1"`), fakeResolver{addresses: here}, ""},
		"upstream of no address":  {with(`upstream = "http://none:1"`), fakeResolver{addresses: here}, `upstream-unresolved: cannot resolve the upstream "none"`},
		"pages that others list":  {with(fmt.Sprintf("pages = %q", open)), fakeResolver{addresses: here}, "pages-listed: " + open},
		"pages that others don't": {with(fmt.Sprintf("pages = %q", closed)), fakeResolver{addresses: here}, ""},
	} {
		cfg := carrierConfig(t, "www.example.org", time.Now().Add(365*24*time.Hour), row.change)
		found := checkSite(t.Context(), &cfg.HTTP()[0], []netip.Addr{netip.MustParseAddr("192.0.2.1")}, row.resolver, listening)
		code, part, _ := strings.Cut(row.want, ": ")
		switch {
		case row.want == "" && len(found) > 0, row.want != "" && (len(found) != 1 || found[0].Code != code || !strings.Contains(found[0].Text, part)):
			t.Errorf("%s: got %+v, want %q", name, found, row.want)
		case row.want != "" && found[0].Hint == "":
			t.Errorf("%s: no hint", name)
		}
	}
}

// pagesDir makes a directory of pages that other users can enter, if its mode lets them.
func pagesDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "pages")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.Chmod(dir, mode)
	}
	for ; err == nil && len(top) > len(os.TempDir()); top = filepath.Dir(top) {
		err = os.Chmod(top, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
