package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/diag"
	"sallyport/sessions/clock"
)

// known is a value that the archives of the tests have: a search that does not find it
// finds no secret either.
const known = "a-service-that-is-known"

// forms are the texts as which a secret may appear.
func forms(secret string) map[string]string {
	all := map[string]string{
		"as it is": secret, "in hex": hex.EncodeToString([]byte(secret)), "in HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"in a URL's path": url.PathEscape(secret), "in a URL's query": url.QueryEscape(secret),
		"quoted by Go": strings.Trim(strconv.Quote(secret), `"`), "quoted by JSON": strings.Trim(jsonOf(secret), `"`),
		"quoted twice": strings.Trim(strconv.Quote(strconv.Quote(secret)), `"\`),
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for shift := range 3 { // bytes of another text before it
			text := encoding.EncodeToString(append(make([]byte, shift), secret...))
			begin, end := (shift*8+5)/6, (shift+len(secret))*8/6 // characters with bits of the secret only
			all[fmt.Sprintf("in %s, shifted by %d", name, shift)] = text[begin:end]
		}
	}
	return all
}

func jsonOf(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// found returns the secrets that a text has, and in which form.
func found(text string, secrets map[string]string) (all []string) {
	for name, secret := range secrets {
		for form, part := range forms(secret) {
			if i := strings.Index(text, part); i >= 0 {
				all = append(all, fmt.Sprintf("%s %s: …%q…", name, form, text[max(i-80, 0):min(i+len(part)+20, len(text))]))
			}
		}
	}
	return all
}

// unpack returns the files of an archive, and all of them as one text.
func unpack(t *testing.T, archive []byte) (files map[string]string, all string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(h.Name)] = string(text)
		all += h.Name + "\n" + string(text) + "\n"
	}
}

// randomSecret is one that no text has by chance.
func randomSecret() string {
	var b [24]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// TestSearchFindsSecrets: the search of the tests below finds a secret in each form, at any
// place of another text, and in an archive of parts that nothing has scrubbed.
func TestSearchFindsSecrets(t *testing.T) {
	secrets := map[string]string{"one": "tr0ub4dor&3 \"x\\ +/ä", "two": randomSecret()}
	for name, secret := range secrets {
		for form, part := range forms(secret) {
			if found("abc"+part+"def", map[string]string{name: secret}) == nil {
				t.Errorf("%s %s is not found", name, form)
			}
		}
		for before := range 6 {
			text := append(make([]byte, before), secret+"tail"...)
			for _, encoded := range []string{base64.StdEncoding.EncodeToString(text), base64.URLEncoding.EncodeToString(text), hex.EncodeToString(text)} {
				if found(encoded, map[string]string{name: secret}) == nil {
					t.Errorf("%s after %d bytes is not found in %s", name, before, encoded)
				}
			}
		}
	}
	var archive bytes.Buffer
	unscrubbed := []diag.Part{{Name: "x", Text: "port_secret = \"" + secrets["two"] + "\"", Fixed: true}}
	if _, err := diag.Write(&archive, time.Unix(1000, 0), new(diag.Scrubber), unscrubbed); err != nil {
		t.Fatal(err)
	}
	_, all := unpack(t, archive.Bytes())
	if found(all, secrets) == nil {
		t.Error("a secret in an archive is not found")
	}
}

// runSallyportd runs the program.
func runSallyportd(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := exec.Command("/proc/self/exe", args...)
	c.Args[0] = "sallyportd"
	out, err := c.CombinedOutput()
	return string(out), err
}

// TestDiagHasNoSecret: the archive of a server with secrets of each kind, after a knock, a
// replay, and reloads that fail since a secret is in a wrong place, has none of them, and no
// name or note of a client.
func TestDiagHasNoSecret(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	guests := makeGuests(t, dir)
	path, at := filepath.Join(dir, config.FileName), func(name string) string { return filepath.Join(dir, name) }
	secrets := map[string]string{}
	for _, name := range []string{
		"port secret", "previous port secret", "client's secret", "client's old secret", "operation's secret", "operation's secret in the configuration",
		"another client's secret", "pasted secret", "pasted into a list", "pasted as a key", "argument of a program", "variable of a program", "note", "client's secret of symbols",
	} {
		secrets[name] = randomSecret()
	}
	secrets["client's secret of symbols"] = `tr0ub4dor&3"x\+/ä` + secrets["note"][:8]
	secrets["pasted secret in words"] = "correct horse battery " + secrets["note"][8:16]
	secrets["note"] = "Alice's laptop " + secrets["note"][16:]
	secrets["host name"] = "gate-" + randomSecret()[:6] + ".example.org"
	key, cert := selfSigned(t)
	secrets["key of TLS"] = keyLine(key)
	guests[0].profile.Secret, guests[0].profile.PortSecret = []byte(secrets["client's secret"]), secrets["port secret"]
	files := map[string]string{
		config.PortSecretName: secrets["port secret"] + "\n", "previous": secrets["previous port secret"], "operation.secret": secrets["operation's secret"] + "\n",
		"key.pem": key, "cert.pem": cert,
		config.ClientsName: fmt.Sprintf("# the clients of this host\ncom0 %s 0 old=%s until=2099-01-01T00:00:00Z note=%s\ncom1 %s 0\ncom2 %s 0\n# com3 %s 0\n",
			secrets["client's secret"], secrets["client's old secret"], secrets["note"], secrets["another client's secret"], secrets["client's secret of symbols"], secrets["pasted into a list"]),
	}
	if out, err := runSallyportd(t, "host-key", "create", at("host.key")); err != nil {
		t.Fatal(out)
	}
	host, err := os.ReadFile(at("host.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["host key"] = keyLine(string(host))
	good := `ports = 2
server = "` + secrets["host name"] + `"
listen = ["127.0.0.1"]
port_secret_file = "port_secret"
port_secret_previous_file = "previous"
port_secret_previous_until = 2099-01-01T00:00:00Z
clients = "clients.txt"
[[service]]
name = "` + known + `"
type = "web"
listen = "127.0.0.1:8080"
tls_cert = "cert.pem"
tls_key = "key.pem"
[challenge]
host_key_file = "host.key"
[[operation]]
id = "op-alice"
secret_file = "operation.secret"
service = "` + known + `"
client = "com0"
[[operation]]
id = "op-bertha"
secret = "` + secrets["operation's secret in the configuration"] + `"
service = "` + known + `"
client = "com1"
`
	files[config.FileName] = good
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		write(name, text)
	}
	server := exec.Command("/proc/self/exe", "serve", "-c", path)
	server.Args[0] = "sallyportd"
	var log syncedText
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() })
	netns.Until(t, "it serves", func() bool { return strings.Contains(log.String(), "msg=serving") }, log.String)
	a := guests[0].attempt(t)
	a.send(t, a.from)
	netns.Until(t, "the grant", func() bool { return strings.Contains(log.String(), "msg=opened service="+known+" client=com0") }, log.String)
	// Secrets in wrong places: the errors about them stay in the log, although the
	// configuration is right again.
	for _, wrong := range []string{
		"log_level = \"" + secrets["pasted secret"] + "\"\n" + good, "clock_tolerance = \"" + secrets["pasted secret in words"] + "\"\n" + good,
		secrets["pasted as a key"] + " = 1\n" + good, strings.Replace(good, "op-bertha", secrets["client's secret of symbols"][:3]+"1", 1),
		strings.Replace(good, `port_secret_file = "port_secret"`, `port_secret_file = "`+secrets["port secret"]+`"`, 1),
		strings.Replace(good, `["127.0.0.1"]`, `["127.0.0.1", "`+secrets["pasted into a list"]+`"]`, 1),
	} {
		write(config.FileName, wrong)
		if out, err := runSallyportd(t, "reload", "-c", path); err == nil {
			t.Fatalf("a wrong configuration is accepted: %s", out)
		}
	}
	write(config.FileName, good)
	// A line with the columns in a wrong order.
	write(config.ClientsName, files[config.ClientsName]+secrets["another client's secret"]+" com9 0\n")
	if out, err := runSallyportd(t, "reload", "-c", path); err == nil {
		t.Fatalf("a wrong clients file is accepted: %s", out)
	}
	write(config.ClientsName, files[config.ClientsName])
	if out, err := runSallyportd(t, "reload", "-c", path); err != nil {
		t.Fatal(out)
	}
	// Secrets of programs, in the configuration only.
	write(config.FileName, strings.Replace(good, "[challenge]", `[[service]]
name = "run"
type = "command"
on_open = ["/bin/true", "`+secrets["argument of a program"]+`"]
program_env = ["TOKEN=`+secrets["variable of a program"]+`"]
command_user = "nobody"
[challenge]`, 1))
	out, err := runSallyportd(t, "diag", "-o", at("a.tar.gz"), "-c", path)
	if err != nil {
		t.Fatal(out)
	}
	if all := found(out, secrets); all != nil {
		t.Errorf("the command prints %s", strings.Join(all, "\n"))
	}
	archive, err := os.ReadFile(at("a.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, all := unpack(t, archive)
	if got := found(all, secrets); got != nil {
		t.Errorf("the archive has\n%s", strings.Join(got, "\n"))
	}
	for _, personal := range []string{"com0", "op-alice", "op-bertha", "Alice"} {
		if strings.Contains(all, personal) {
			t.Errorf("the archive has %s", personal)
		}
	}
	// The parts are there, with what a report requires.
	for name, want := range map[string][]string{
		"configuration.toml": {`name = "` + known + `"`, `tls_key = "key.pem"`, `client = "client-`, `id = "operation-`},
		"log.txt":            {"msg=serving", "msg=opened service=" + known + " client=client-1", "reload"},
		"status.json":        {`"goroutines": `, `"ready": true`, `"clients": 3`},
		"leases.json":        {`"client": "client-1"`, `"service": "` + known},
		"metrics.txt":        {"\nsallyport_ready 1\n"},
		"history.json":       {`"minutes"`}, "check.txt": {"warning"}, "kernel.txt": {"kernel: Linux"}, "command.txt": {"CapEff"}, "server.txt": {"descriptors: "},
		"version.txt": {"module github.com/spf13/cobra"}, "README.txt": {"log.txt"}, "nftables.txt": {"no table inet sallyport"}, "waiting.json": {"{"},
	} {
		for _, text := range want {
			if !strings.Contains(unpacked[name], text) {
				t.Errorf("%s lacks %s:\n%s", name, text, unpacked[name])
			}
		}
	}
	server.Process.Signal(syscall.SIGTERM)
	server.Wait()
}

// TestDiagOfAnyConfiguration puts a secret in the place of each value of the reference
// configuration, which has each key: of files, in the file. The archive does not have it,
// whether or not the configuration is valid, and whatever "check" quotes.
func TestDiagOfAnyConfiguration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	env := cli.Env{Clock: clock.System(), Stdout: io.Discard, Stderr: io.Discard}
	tried := 0
	secret := randomSecret()
	var scrubber *diag.Scrubber
	archiveOf := func(table map[string]any) string {
		t.Helper()
		text, err := toml.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		// The parts that depend on the configuration.
		s := new(diag.Scrubber)
		scrubber = s
		parts := []diag.Part{diagConfiguration(path, s)}
		// The redaction does not depend on the scrubber, which would hide its faults.
		if got := found(parts[0].Text, map[string]string{"secret": secret}); got != nil {
			t.Errorf("redacted: %s", strings.Join(got, "\n"))
		}
		check, err := checkText(t.Context(), env, path)
		parts = append(parts, diag.Part{Name: "check.txt", Text: check, Err: err})
		var archive bytes.Buffer
		if _, err := diag.Write(&archive, time.Unix(1000, 0), s, parts); err != nil {
			t.Fatal(err)
		}
		_, all := unpack(t, archive.Bytes())
		return all
	}
	var each func(table map[string]any)
	var whole map[string]any
	try := func(name string, set func(any)) {
		tried++
		for _, value := range []any{secret, []any{secret}, map[string]any{"x": secret}, map[string]any{secret: "x"}, "name/" + secret, "https://user:" + secret + "@host.example:1/"} {
			set(value)
			if got := found(archiveOf(whole), map[string]string{name: secret}); got != nil {
				t.Errorf("%v: %s", value, strings.Join(got, "\n"))
			}
		}
	}
	each = func(table map[string]any) {
		for _, name := range slices.Sorted(keysOf(table)) {
			value := table[name]
			switch v := value.(type) {
			case map[string]any:
				each(v)
			case []any:
				for _, inside := range v {
					if in, is := inside.(map[string]any); is {
						each(in)
					}
				}
			}
			try(name, func(to any) { table[name] = to })
			table[name] = value
			if strings.HasSuffix(name, "_file") || slices.Contains([]string{"key", "tls_key", "clients"}, name) {
				file := filepath.Join(dir, "a file")
				if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				table[name] = file
				if got := found(archiveOf(whole), map[string]string{"in the file of " + name: secret}); got != nil {
					t.Error(strings.Join(got, "\n"))
				}
				if got := scrubber.Scrub("x " + secret + " y"); got != "x (left out) y" {
					t.Errorf("the scrubber does not know the file of %s: %s", name, got)
				}
				table[name] = value
			}
		}
	}
	whole = map[string]any{}
	if err := toml.Unmarshal([]byte(uncommentedReference()), &whole); err != nil {
		t.Fatal(err)
	}
	each(whole)
	if tried < 120 {
		t.Errorf("tried %d keys only", tried)
	}
	if all := archiveOf(map[string]any{"ports": 3, "user": known}); !strings.Contains(all, known) {
		t.Errorf("a value that is no secret is not in the archive:\n%s", all)
	}
}

// TestLearnClients: the scrubber knows each secret and note of a clients file, also of lines
// with a fault, and no word of its comments.
func TestLearnClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	text := "# the clients of this host, only for people\ncom1 first&secret 0 services=web,ssh old=second&secret until=2099-01-01T00:00:00Z note=Alice's laptop\n" +
		"com2 third-secret\nx com3\tfourth&secret 0\n#com4 0123456789abcdef0123 0\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := new(diag.Scrubber)
	for name := range learnClients(s, path) {
		s.Name("client", name)
	}
	for text, want := range map[string]string{
		"first&secret": "(left out)", "second&secret": "(left out)", "third-secret": "(left out)", "fourth&secret": "(left out)", "0123456789abcdef0123": "(left out)",
		"of Alice's laptop.": "of (left out).", "com1 com2": "client-1 client-2", "web only people clients 2099-01-01T00:00:00Z": "web only people clients 2099-01-01T00:00:00Z",
	} {
		if got := s.Scrub(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for range learnClients(s, path+".none") {
		t.Error("a client of no file")
	}
}
