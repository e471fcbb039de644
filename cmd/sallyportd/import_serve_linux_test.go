package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/badprogram"
	"sallyport/bench/netns"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/legacy"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
)

// property is a key of the first implementation, with its values: "-" stands for no
// such line, and "" for a line without a value.
type property struct {
	key    string
	values []string
}

// absent is the value of a key that the file does not have.
const absent = "-"

// The keys of the paper's Listings 2 and 3. The second-last value is the default.
var (
	serverProperties = []property{
		{"bind-address", []string{absent, "", "0.0.0.0", "::"}},
		{"ports", []string{absent, "", "3", "1"}},
		{"open-timeout", []string{absent, "", "10", "60"}},
		{"trusted-clients-path", []string{absent, "", "trusted_clients.txt", "other/clients.txt"}},
	}
	serviceProperties = []property{
		{"use-embedded-webserver", []string{absent, "", "true", "false"}},
		{"service-bind", []string{absent, "", "127.0.0.1", "::1"}},
		{"service-port", []string{absent, "", "8080", "8090"}},
		{"proxy-address", []string{absent, "", "127.0.0.1"}},
		{"proxy-port", []string{absent, "", webServerPort}},
	}
)

// webServerPort is where the external web server listens.
const webServerPort = "8081"

// combinations yields each combination of the values.
func combinations(properties []property) iter.Seq[map[string]string] {
	return func(yield func(map[string]string) bool) {
		chosen := make([]int, len(properties))
		for {
			one := map[string]string{}
			for i, p := range properties {
				one[p.key] = p.values[chosen[i]]
			}
			if !yield(one) {
				return
			}
			i := 0
			for ; i < len(chosen); i++ {
				if chosen[i]++; chosen[i] < len(properties[i].values) {
					break
				}
				chosen[i] = 0
			}
			if i == len(chosen) {
				return
			}
		}
	}
}

// refused returns the key whose value the import must not accept, because no page
// could be served; empty: the combination must work.
func refused(p map[string]string, program bool) string {
	is := func(key string, values ...string) bool { return slices.Contains(values, p[key]) }
	for _, key := range []string{"ports", "open-timeout", "bind-address", "trusted-clients-path", "service-bind", "service-port", "use-embedded-webserver"} {
		if value, ok := p[key]; ok && value == "" {
			return key // a line without a value, of a key that requires one
		}
	}
	embedded := !is("use-embedded-webserver", "false")
	switch {
	case embedded && program:
		return "use-embedded-webserver" // a program, and nothing for it to serve
	case !embedded && is("proxy-port", absent, ""):
		return "proxy-port" // it has no default
	case is("service-bind", "::1") && !is("bind-address", "::"):
		return "bind-address" // knocks over IPv4, for a service over IPv6
	}
	return ""
}

// propertyText returns the text of a properties file.
func propertyText(p map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p)) {
		if p[key] != absent {
			fmt.Fprintf(&b, "%s=%s\n", key, p[key])
		}
	}
	return b.String()
}

// javaDir is a directory of the first implementation, and the texts of its files.
type javaDir struct {
	path  string
	texts map[string]string
}

func newJavaDir(t *testing.T) javaDir {
	t.Helper()
	d := javaDir{t.TempDir(), map[string]string{}}
	const list = "com1 com1_secret 0\ncom2 com2_secret 14\n"
	d.set(t, "trusted_clients.txt", list)
	d.set(t, "other/clients.txt", list)
	return d
}

// set writes a file; an empty text: there is no such file.
func (d javaDir) set(t *testing.T, name, text string) {
	t.Helper()
	if d.texts[name] == text {
		return
	}
	d.texts[name] = text
	path := filepath.Join(d.path, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil && text == "" {
		err = os.Remove(path)
	} else if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestImportedConfigurationsServe imports each combination of the keys of
// service.properties, with and without client.properties, and each of server.properties. It
// serves a page through each configuration that results. Of two
// combinations with one result, one is served. The other combinations must be refused,
// with a hint and the key that is at fault.
func TestImportedConfigurationsServe(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	web := webServer(t, net.JoinHostPort("127.0.0.1", webServerPort))
	java, served := newJavaDir(t), map[string]bool{}
	imported, errored := 0, 0
	run := func(t *testing.T, server, service map[string]string, noService bool, clients ...string) {
		all := maps.Clone(server)
		maps.Copy(all, service)
		text := propertyText(service) + "\n"
		if noService {
			text = ""
		}
		java.set(t, "server.properties", "port-secret=portSecret\n"+propertyText(server))
		java.set(t, "service.properties", text)
		for _, clientText := range append(clients, clientProperties(all)) {
			java.set(t, "client.properties", clientText)
			files, _, err := legacy.Read(java.path, java.path, legacy.Program{})
			if key := refused(all, false); key != "" {
				errored++
				requireHint(t, all, err, key)
				continue
			}
			if err != nil {
				t.Errorf("%v: %v", all, err)
				continue
			}
			imported++
			var made strings.Builder
			for _, f := range files {
				fmt.Fprintln(&made, f.Name, f.Text)
			}
			if served[made.String()] {
				continue
			}
			served[made.String()] = true
			want := "external"
			if all["use-embedded-webserver"] != "false" {
				want = "You knocked correctly"
			}
			serveImported(t, t.TempDir(), files, web, want)
		}
	}
	t.Run("service.properties", func(t *testing.T) {
		for service := range combinations(serviceProperties) {
			run(t, map[string]string{"bind-address": "::"}, service, false, "")
		}
		run(t, map[string]string{"bind-address": "::"}, nil, true, "")
	})
	t.Run("server.properties", func(t *testing.T) {
		for server := range combinations(serverProperties) {
			run(t, server, map[string]string{"service-port": "8080"}, false)
			run(t, server, map[string]string{"use-embedded-webserver": "false", "proxy-port": webServerPort}, false)
		}
		for _, bind := range serverProperties[0].values {
			run(t, map[string]string{"bind-address": bind}, map[string]string{"service-bind": "::1"}, false)
		}
	})
	t.Logf("%d combinations imported, %d refused, %d different configurations served", imported, errored, len(served))
	if imported == 0 || errored == 0 || len(served) != 31 {
		t.Error("other numbers than expected")
	}
}

// TestImportedProgramsServe does the same with the program of the external web server,
// which the real server starts as another user.
func TestImportedProgramsServe(t *testing.T) {
	t.Parallel()
	path := badprogram.Path(t)
	if !netns.EnterPrivileged(t) {
		return
	}
	program := legacy.Program{Args: []string{path, "-listen", "127.0.0.1:" + webServerPort}, User: "nobody"}
	java, served, errored := newJavaDir(t), map[string]bool{}, 0
	java.set(t, "server.properties", "port-secret=portSecret\nbind-address=::\n")
	for service := range combinations(serviceProperties) {
		java.set(t, "service.properties", propertyText(service)+"\n")
		service["bind-address"] = "::"
		files, _, err := legacy.Read(java.path, java.path, program)
		if key := refused(service, true); key != "" {
			errored++
			requireHint(t, service, err, key)
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", service, err)
			continue
		}
		if made := fmt.Sprint(files); !served[made] {
			served[made] = true
			serveProgram(t, files)
		}
	}
	if errored == 0 || len(served) != 4 {
		t.Errorf("%d combinations refused, %d different configurations served", errored, len(served))
	}
}

// serveProgram runs the real server with imported files. The program must run only
// during the lease.
func serveProgram(t *testing.T, files []legacy.File) {
	t.Helper()
	dir := t.TempDir()
	cfg := writeImported(t, dir, files)
	v := startVictim(t, dir)
	service, upstream := cfg.Services[0].Listen, "127.0.0.1:"+webServerPort
	for _, address := range []string{service, upstream} {
		if _, err := getPage(t.Context(), address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s before the lease: got %v, expected a refused connection", address, err)
		}
	}
	_, err := client.Knock(t.Context(), client.Config{
		Profile: importedProfile(t, dir, cfg), Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")}, Now: time.Now,
	})
	page := ""
	if err == nil {
		page, err = getPage(t.Context(), service)
	}
	if err != nil || page != "the program serves" {
		t.Errorf("got %q, %v\n%s\n%s", page, err, files, v.log())
	}
	v.stop(t, 0)
	if _, err := getPage(t.Context(), upstream); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the program has outlived the server: %v", err)
	}
}

// writeImported writes imported files, and the record of used nonces.
func writeImported(t *testing.T, dir string, files []legacy.File) *config.Config {
	t.Helper()
	err := writeNew(dir, files)
	var cfg *config.Config
	if err == nil {
		cfg, err = config.Load(filepath.Join(dir, config.FileName), config.All)
	}
	if err == nil {
		err = cfg.ResolveListen(t.Context())
	}
	if err == nil {
		err = state.Create(cfg.StateDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// clientProperties returns a client.properties for such a server (paper, Listing 1).
func clientProperties(server map[string]string) string {
	ports := server["ports"]
	if ports == absent || ports == "" {
		ports = "3"
	}
	address := "localhost"
	if server["service-bind"] == "::1" {
		address = "::1"
	}
	return "server-address=" + address + "\nport-secret=portSecret\nports=" + ports +
		"\nclient-identifier=com1\nclient-shared-secret=com1_secret\nnonce=0\n"
}

// requireHint fails unless an error names a key, and has a hint.
func requireHint(t *testing.T, given map[string]string, err error, key string) {
	t.Helper()
	var hinted interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("%v: got %v, expected an error about %s", given, err, key)
	} else if !errors.As(err, &hinted) || hinted.Hint() == "" {
		t.Errorf("%v: an error without a hint: %v", given, err)
	}
}

// webServer starts an external web server. The function that it returns reports how
// many connections came since its last call.
func webServer(t *testing.T, address string) (connections func() int) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{}, 1000)
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		io.WriteString(w, "the external web server")
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return func() (n int) {
		for {
			select {
			case <-came:
				n++
			default:
				return n
			}
		}
	}
}

// serveImported runs a server with imported files. A stranger must get nothing, and
// the client a page with a text.
func serveImported(t *testing.T, dir string, files []legacy.File, web func() int, want string) {
	t.Helper()
	cfg := writeImported(t, dir, files)
	list, err := clients.Read(cfg.ClientsPath, cfg.SecretFiles, cfg.ServiceNames())
	if err != nil {
		t.Fatal(err)
	}
	s, err := daemon.New(t.Context(), cfg, list.List, nil, daemon.Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	service := cfg.Services[0].Listen
	if _, err := getPage(ctx, service); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: a stranger got %v, expected a refused connection", service, err)
	}
	p := importedProfile(t, dir, cfg)
	_, err = client.Knock(ctx, client.Config{Profile: p, Nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")}, Now: time.Now})
	page := ""
	if err == nil {
		page, err = getPage(ctx, service)
	}
	if err != nil || !strings.Contains(page, want) {
		t.Errorf("got %q (%v), expected a page with %q\n%s", page, err, want, files)
	}
	if n := web(); (n == 1) != (want == "external") {
		t.Errorf("%d requests reached the external web server\n%s", n, files)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// importedProfile returns the imported profile of the client; without client.properties,
// the one that an administrator would make.
func importedProfile(t *testing.T, dir string, cfg *config.Config) client.Profile {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(dir, "profile.toml")); err == nil {
		p, err := profile.Parse("profile.toml", text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	host, port, err := net.SplitHostPort(cfg.Services[0].Listen)
	if err != nil {
		t.Fatal(err)
	}
	return client.Profile{
		Server: host, PortSecret: cfg.PortSecret.Current, Ports: cfg.Ports, Generator: cfg.Generator,
		Identifier: [4]byte([]byte("com1")), Secret: []byte("com1_secret"), Service: ":" + port,
	}
}

// getPage fetches a page over a new connection.
func getPage(ctx context.Context, address string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/test1.html", nil)
	if err != nil {
		return "", err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}
