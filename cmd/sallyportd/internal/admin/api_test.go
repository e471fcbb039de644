package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/cmd/internal/hint"
)

// get sends a request as a program would, and returns the response with its body.
func get(t *testing.T, c Conn, method, path, body string) (*http.Response, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://sallyportd"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return response, string(text)
}

// TestVersions: each request exists with the prefix of the version, where errors are JSON,
// and without it, where they are text as in earlier releases.
func TestVersions(t *testing.T) {
	failing := hint.With(errors.New("no room"), "make some\n100 %")
	c := serve(t, Handlers{
		Status: func() Status { return Status{API: Version, Release: "v1"} },
		Metrics: func(w io.Writer) error {
			_, err := io.WriteString(w, "up 1\n")
			return err
		},
		Leases: func() []Lease { return []Lease{} }, State: func(w io.Writer) error { _, err := io.WriteString(w, "\x00"); return err },
		Reload: func(context.Context) (Reloaded, error) { return Reloaded{}, failing },
	})
	for _, row := range []struct {
		method, path, kind string
		status             int
		body               string
	}{
		{"GET", "/v1/leases", "application/json", 200, "[]\n"},
		{"GET", "/v1/state", "application/octet-stream", 200, "\x00"},
		{"GET", "/v1/metrics", MetricsType, 200, "up 1\n"},
		{"GET", "/metrics", MetricsType, 200, "up 1\n"},
		{"POST", "/v1/reload", "application/json", 422, `{"error":"no room","hint":"make some\n100 %"}` + "\n"},
		{"POST", "/reload", "text/plain; charset=utf-8", 422, "no room"},
		{"GET", "/v1/reload", "application/json", 405, `{"error":"Method Not Allowed","hint":""}` + "\n"},
		{"GET", "/v1/none", "application/json", 404, `{"error":"404 page not found","hint":""}` + "\n"},
		{"GET", "/v2/leases", "text/plain; charset=utf-8", 404, "404 page not found\n"},
		{"POST", "/v1/leases/close", "application/json", 400, ""},
	} {
		response, body := get(t, c, row.method, row.path, `{"clinet":"com1"}`)
		header := response.Header
		wrong := response.StatusCode != row.status || row.body != "" && body != row.body
		if wrong || header.Get("Content-Type") != row.kind || header.Get("Sallyport-Api") != "1" {
			t.Errorf("%s %s: %s, %q, %q", row.method, row.path, response.Status, header, body)
		}
		if row.status >= 400 && strings.HasPrefix(row.path, "/v1") && !json.Valid([]byte(body)) {
			t.Errorf("%s: %q is no JSON", row.path, body)
		}
	}
	if st, err := c.Status(t.Context()); err != nil || st.Release != "v1" {
		t.Errorf("status: %+v, %v", st, err)
	}
	// Streams pass, too.
	client := Conn{Socket: c.Socket}
	body, err := client.ask(t.Context(), http.MethodGet, "/v1/grants", nil)
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	// Of an error the commands get the text, whichever way they ask.
	var refused *RefusedError
	_, err = client.ask(t.Context(), http.MethodPost, "/v1/reload", nil)
	if !errors.As(err, &refused) || refused.Error() != "no room" || refused.Hint() != "make some\n100 %" {
		t.Errorf("refused: %v", err)
	}
}

// TestEarlierServer: a server without the request is another case than one that refuses it.
func TestEarlierServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NewServeMux()}
	go server.Serve(l)
	defer server.Close()
	if _, err := (Conn{Socket: path}).Status(t.Context()); !errors.Is(err, ErrEarlier) {
		t.Errorf("got %v", err)
	}
}

// TestSlowObservers: programs that do not read their answers do not delay the answers of others.
func TestSlowObservers(t *testing.T) {
	c := serve(t, Handlers{Status: func() Status { return Status{Config: strings.Repeat("x", 1<<20)} }, Metrics: func(io.Writer) error { return errors.New("none") }})
	for range 2 * maxObservers {
		slow, err := net.Dial("unix", c.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if _, err := io.WriteString(slow, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if response, body := get(t, c, "GET", "/status", ""); response.StatusCode != 200 || len(body) < 1<<20 {
		t.Errorf("%s, %d bytes", response.Status, len(body))
	}
	response, body := get(t, c, "GET", "/v1/metrics", "")
	if response.StatusCode != 500 || body != `{"error":"none","hint":""}`+"\n" {
		t.Errorf("%s, %q", response.Status, body)
	}
}

// TestWhyUnreachable: each way in which a server cannot be reached has its own word.
func TestWhyUnreachable(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string) (string, *net.UnixListener) {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return path, l.(*net.UnixListener)
	}
	silent, l := listen("silent")
	defer l.Close()
	left, l := listen("left")
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, want := range map[string]string{filepath.Join(dir, "none"): "no-socket", left: "refused", silent: "timeout"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		var unreachable *UnreachableError
		_, err := Conn{Socket: path}.Status(ctx)
		if !errors.As(err, &unreachable) || unreachable.Why() != want || unreachable.Stopped() != (want != "timeout") {
			t.Errorf("%s: %v", path, err)
		}
		cancel()
	}
	for err, want := range map[error]string{syscall.EACCES: "permission", os.ErrDeadlineExceeded: "timeout", syscall.EMFILE: "error"} {
		if got := (&UnreachableError{"x", &net.OpError{Err: err}}).Why(); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
