package carriers

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for s, path := range map[string]string{
		"https://www.example.org": "/", "https://www.example.org:8443/a": "/a", "https://[2001:db8::1]/": "/",
		"http://127.0.0.1:8080": "/", "http://[::1]/": "/", "http://localhost/": "/",
	} {
		if u, err := ParseURL(s); err != nil || u.Path != path {
			t.Errorf("%s: %v, %v", s, u, err)
		}
	}
	for _, s := range []string{
		"", "www.example.org", "https://", "http://www.example.org", "http://192.0.2.1", "ftp://www.example.org", "https://user@www.example.org",
		"https://www.example.org/?a", "https://www.example.org/?", "https://www.example.org/#a", "https:www.example.org", "https://exämple.org", "https://a..b", "https://www.example.org:x", "/",
	} {
		if u, err := ParseURL(s); err == nil {
			t.Errorf("%q: accepted as %v", s, u)
		}
	}
	for s, want := range map[string]string{"k.example.org": "k.example.org", "K.Example.org.": "k.example.org", "": "", "a..b": "", "ä.org": ""} {
		if got, err := ParseZone(s); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	long := strings.Repeat("a.", maxZone/2) + "b"
	if _, err := ParseZone(long); err != nil {
		t.Error(err)
	}
	if _, err := ParseZone(long + "c"); err == nil {
		t.Error("a label and this zone are longer than a name")
	}
	for s, want := range map[string]string{
		"ns1.example.org": "ns1.example.org 53", "192.0.2.1": "192.0.2.1 53", "192.0.2.1:5353": "192.0.2.1 5353",
		"2001:db8::1": "2001:db8::1 53", "[2001:db8::1]": "2001:db8::1 53", "[2001:db8::1]:54": "2001:db8::1 54", "": "", "a b": "", "a:0": "", "a:x": "",
	} {
		host, port, err := ParseServer(s)
		if got := fmt.Sprint(host, " ", port); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	u, err := ParseURL("https://WWW.Example.org.:8443/")
	if err != nil || Host(u) != "www.example.org" {
		t.Errorf("%v, %v", u, err)
	}
}
