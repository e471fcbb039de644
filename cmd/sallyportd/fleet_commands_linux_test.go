package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/durable"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
)

// editor is a host of a fleet, where commands change the list. No server runs there.
type editor struct {
	dir    string
	etcd   []string // the endpoints
	prefix string
}

// newEditor makes the files of a host, but no key file.
func newEditor(t *testing.T, e *etcdtest.Cluster, name, prefix, keys string) editor {
	t.Helper()
	d := editor{t.TempDir(), e.Gateway(t).Endpoints(), prefix}
	// In a directory that is closed to others, no file is exposed.
	secret := fmt.Sprintf("%s-%d\n", t.Name(), os.Getpid()) // the same at all hosts; other ports than other tests have
	err := errors.Join(os.Chmod(filepath.Dir(d.dir), 0o755), os.Mkdir(d.path("state"), 0o700), os.WriteFile(d.path("port_secret"), []byte(secret), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	d.configure(t, fmt.Sprintf("[fleet]\nname = %q\nendpoints = [%q]\nprefix = %q\ntimeout = \"10s\"\n%s", name, d.etcd[0], prefix, keys))
	return d
}

func (d editor) path(name string) string { return filepath.Join(d.dir, name) }

// configure writes the configuration.
func (d editor) configure(t *testing.T, fleet string) {
	t.Helper()
	web := strings.Replace(configtest.Web, "8080", "8095", 1)
	text := "server = \"192.0.2.1\"\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"fleet\"\n" + web + fleet
	if err := os.WriteFile(d.path(config.FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command, which must end with a code, and print a text that matches a pattern.
func (d editor) run(t *testing.T, code int, want string, args ...string) string {
	t.Helper()
	got, out := runCommand(t, append(args, "-c", d.path(config.FileName))...)
	if got != code || !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("%v: exit code %d, want %d and %q:\n%s", args, got, code, want, out)
	}
	return out
}

// write writes a file, and returns its path.
func (d editor) write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(d.path(name), []byte(text), mode), os.Chmod(d.path(name), mode)); err != nil {
		t.Fatal(err)
	}
	return d.path(name)
}

func (d editor) read(t *testing.T, name string) string { return read(t, d.path(name)) }

// list opens the list as the commands do.
func (d editor) list(t *testing.T) (*fleetlist.List, *config.Config) {
	t.Helper()
	f, err := loadEtcdList(envAt(time.Now()), d.path(config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	l, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, f.cfg
}

// codes returns what "check" finds about the list.
func (d editor) codes(t *testing.T) string {
	t.Helper()
	cfg, err := config.Load(d.path(config.FileName), config.All)
	if err != nil {
		t.Fatal(err)
	}
	_, found, err := checkedClients(t.Context(), cfg, envAt(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, f := range found {
		codes = append(codes, f.Code)
	}
	return strings.Join(codes, " ")
}

const threeClients = "# of the office\n\ncom1 secret1 0 note=Alice's laptop\ncom2 secret2 7 services=web\ncom3 secret3 0\n"

// TestFleetCommands: the commands make the list of a fleet, and change it, at two hosts.
func TestFleetCommands(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a, b := newEditor(t, e, "a", "/x/", ""), newEditor(t, e, "b", "/x/", "")
	a.run(t, 2, `clients_key: no such file.*\nhint: .*sallyportd fleet-key new`, "client", "list")
	a.run(t, 0, `clients_key has the key [0-9a-f]{16}\.\n.*copy the file`, "fleet-key", "new")
	if info, err := os.Stat(a.path("clients_key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key file: %v, %v", info.Mode(), err)
	}
	a.run(t, 2, `exists.*\nhint: .*fleet-key rotate`, "fleet-key", "new")
	b.write(t, "clients_key", a.read(t, "clients_key"), 0o600)

	for _, args := range [][]string{{"list"}, {"add"}, {"allow", "com1", "--all"}, {"revoke", "com1"}, {"export"}} {
		a.run(t, 1, `there is no list of clients in etcd\nhint: .*sallyportd client import`, append([]string{"client"}, args...)...)
	}
	if got := a.codes(t); got != "fleet-list-none" {
		t.Errorf("without a list: %s", got)
	}
	testImport(t, a, b)
	testChanges(t, a, b)
	testExport(t, a, b)
	testKeyRotation(t, a, b)
}

func testImport(t *testing.T, a, b editor) {
	a.run(t, 2, "other users|others", "client", "import", a.write(t, "open.txt", threeClients, 0o644))
	a.run(t, 2, `service "gone" is not configured`, "client", "import", a.write(t, "gone.txt", "com1 s 0 services=gone\n", 0o600))
	a.run(t, 2, "does not end with a newline", "client", "import", a.write(t, "part.txt", "com1 s 0", 0o600))
	a.run(t, 2, "no such file", "client", "import", a.path("none.txt"))
	file := a.write(t, "three.txt", threeClients, 0o600)
	a.run(t, 0, `has 3 clients: 3 added, 0 changed, 0 removed\. 2 comments and empty lines .*\nNo server answers`, "client", "import", file)
	b.run(t, 0, `(?s)com1 +all.*Alice's laptop.*com2 +web +7.*com3`, "client", "list")
	b.run(t, 2, `has 3 clients already; nothing was written\nhint: --replace`, "client", "import", file)
	other := b.write(t, "two.txt", "com1 other 0\ncom2 secret2 7 services=web\n", 0o600)
	b.run(t, 0, `^{"clients":2,"added":0,"changed":1,"removed":1,"comments":0,"server":"none"}\n$`, "client", "import", "--replace", "--json", other)
	a.run(t, 0, "", "client", "import", "--replace", file)
}

// testChanges: each command that changes a client changes it for both hosts.
func testChanges(t *testing.T, a, b editor) {
	a.run(t, 0, "Client com4: ", "client", "add", "com4", "--services", "web", "--out", a.path("com4.toml"))
	b.run(t, 2, "client com4 exists already", "client", "add", "com4")
	b.run(t, 0, `(?s)^{"identifier":"com4","changed":true,"server":"none","services":null}\n$`, "client", "allow", "com4", "--all", "--json")
	b.run(t, 2, "there is no client com9 in the fleet's list\nhint: sallyportd client list", "client", "allow", "com9", "--all")
	b.run(t, 0, "Client com4 expires at 2100-01-01", "client", "expire", "com4", "2100-01-01")
	b.run(t, 0, "The old secret of com4 is valid until", "client", "rotate", "com4", "--out", b.path("rotated.toml"))
	a.run(t, 2, "the last rotation of client com4 has not ended", "client", "rotate", "com4")
	a.run(t, 0, "", "client", "profile", "com4", "--out", a.path("again.toml"))
	if a.read(t, "again.toml") != b.read(t, "rotated.toml") || a.read(t, "again.toml") == a.read(t, "com4.toml") {
		t.Error("the profile after a rotation differs between the hosts, or is the old one")
	}
	a.run(t, 0, "The old secret of client com4 is no longer valid", "client", "rotate", "com4", "--end")
	b.run(t, 0, "4 profiles written", "client", "profile", "--all", "--out-dir", b.path("profiles"))
	b.run(t, 2, "--client: there is no client com9 in the fleet's list", "operation", "add", "op-1", "--client", "com9")
	b.run(t, 0, `"clients":\["com1","com2","com3","com4"\]`, "port-secret", "roll", "--json")
	b.run(t, 0, `Revoked com3\. No server answers`, "client", "revoke", "com3")
	a.run(t, 2, `there is no client com3 in the fleet's list`, "client", "revoke", "com3")
	if out := a.run(t, 0, `(?m)^com4 +all .*2100-01-01`, "client", "list"); strings.Contains(out, "com3") {
		t.Errorf("a revoked client is in the list:\n%s", out)
	}
	found, err := filepath.Glob(filepath.Join(a.dir, "*.lock"))
	if len(found) > 1 || err != nil { // that of the configuration
		t.Errorf("lock files: %v, %v", found, err)
	}
}

// testExport: an export is a clients file, with which a gateway can go on alone.
func testExport(t *testing.T, a, b editor) {
	a.run(t, 0, "Wrote .*export.txt, with 3 clients of version", "client", "export", a.path("export.txt"))
	a.run(t, 2, "exists", "client", "export", a.path("export.txt"))
	info, err := os.Stat(a.path("export.txt"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the export: %v, %v", info.Mode(), err)
	}
	if out := b.run(t, 0, "", "client", "export"); out != a.read(t, "export.txt") {
		t.Errorf("printed: %q, written: %q", out, a.read(t, "export.txt"))
	}
	list, err := clients.Load(a.path("export.txt"), (&config.Config{}).SecretFiles, []string{"web"})
	if err != nil || len(list) != 3 || list[0].Note != "Alice's laptop" {
		t.Errorf("the export as a clients file: %d clients, %v", len(list), err)
	}
	b.run(t, 0, `^{"clients":3,"version":\d+,"text":"com1 .*\\n"}\n$`, "client", "export", "--json")
}

// testKeyRotation: the key can be replaced, and no step is possible too early.
func testKeyRotation(t *testing.T, a, b editor) {
	a.run(t, 2, "has one key only", "fleet-key", "drop")
	a.run(t, 0, "has the keys [0-9a-f]{16} and [0-9a-f]{16}; the first one seals", "fleet-key", "rotate")
	a.run(t, 2, "expected one key, there are two", "fleet-key", "rotate")
	a.run(t, 2, `is sealed with the key .*; nothing was changed\nhint: .*fleet-key reseal`, "fleet-key", "drop")
	if got := a.codes(t); got != "fleet-key-rotation" {
		t.Errorf("before the list is sealed again: %s", got)
	}
	a.run(t, 0, "", "client", "expire", "com1", "30d") // changes go on
	old := b.read(t, "clients_key")
	a.run(t, 0, `Sealed the fleet's list with the key`, "fleet-key", "reseal")
	b.run(t, 2, `is sealed with the key [0-9a-f]{16}, the key file has .*\nhint: copy the key file`, "client", "list")
	b.run(t, 2, `^sallyportd: the list of clients is sealed with the key .*\nhint: copy the key file`, "client", "import", b.write(t, "other.txt", "", 0o600))
	if got := b.codes(t); got != "fleet-list-key" {
		t.Errorf("with the old key: %s", got)
	}
	b.write(t, "clients_key", a.read(t, "clients_key"), 0o600)
	if got := b.codes(t); got != "fleet-key-rotation" {
		t.Errorf("with both keys: %s", got)
	}
	for _, d := range []editor{a, b} {
		d.run(t, 0, `has the key [0-9a-f]{16}\.\n.*sallyportd reload`, "fleet-key", "drop")
		d.run(t, 0, "com4", "client", "list")
		if got := d.codes(t); got != "" {
			t.Errorf("after the rotation: %s", got)
		}
	}
	if strings.Contains(b.read(t, "clients_key"), strings.Fields(old)[len(strings.Fields(old))-1]) {
		t.Error("the old key is still in the file")
	}
}

// TestFleetCommandsFaults: the list or its key is not what it should be. No command prints a
// part of a secret.
func TestFleetCommandsFaults(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a := newEditor(t, e, "a", "/x/", "")
	key := "sallyport-clients-key-" + strings.Repeat("ab", 32) + "\n"
	for _, row := range []struct {
		text, want string
		mode       os.FileMode
	}{
		{key, "other users|others", 0o644},
		{key[:40] + "\n", "expected one or two lines", 0o600},
		{"hunter2", "expected one or two lines", 0o600},
	} {
		a.write(t, "clients_key", row.text, row.mode)
		for _, args := range [][]string{{"client", "list"}, {"client", "revoke", "com1"}, {"fleet-key", "reseal"}, {"check"}} {
			out := a.run(t, 2, row.want, args...)
			if strings.Contains(out, "abab") || strings.Contains(out, "hunter2") {
				t.Errorf("%v prints the key: %s", args, out)
			}
		}
	}
	a.write(t, "clients_key", key, 0o600)
	file := a.write(t, "three.txt", threeClients, 0o600)
	a.run(t, 0, "", "client", "import", file)

	// This gateway has applied the list, and then etcd goes back.
	before := snapshotOf(t, e, "/x/clients/")
	a.run(t, 0, "", "client", "revoke", "com1")
	a.follow(t)
	restore(t, e, "/x/clients/", before)
	for _, args := range [][]string{{"list"}, {"add"}, {"export"}, {"revoke", "com2"}} {
		a.run(t, 1, `etcd went back to version \d+.*\nhint: .*client accept`, append([]string{"client"}, args...)...)
	}
	if got := a.codes(t); got != "fleet-list-older" {
		t.Errorf("of an older list: %s", got)
	}
	a.run(t, 0, `No server answers .*its next start accepts`, "client", "accept")
	a.run(t, 0, "com1", "client", "list")
	if got := a.codes(t); got != "" {
		t.Errorf("after it was accepted: %s", got)
	}

	// An attacker changes an entry.
	for name := range before {
		if strings.HasSuffix(name, "com2") {
			restore(t, e, "/x/clients/", map[string]string{name: "x" + before[name][1:]})
		}
	}
	a.run(t, 1, `altered without its key.*\nhint: .*client import`, "client", "list")
	if got := a.codes(t); got != "fleet-list-refused" {
		t.Errorf("of an altered list: %s", got)
	}
	a.run(t, 1, `cannot be read: .*altered.*\nhint: .*--replace`, "client", "import", file)
	a.run(t, 0, "has 3 clients", "client", "import", "--replace", file)
	a.run(t, 0, "com2", "client", "list")
	testLaterList(t, e, a, file)
	testWithoutEtcd(t, a)
}

// testLaterList: a later release has written the list. No command of this one reads or
// replaces it, and each names the versions and the way back, which works.
func testLaterList(t *testing.T, e *etcdtest.Cluster, a editor, file string) {
	list := snapshotOf(t, e, "/x/clients/list")
	for name, value := range list {
		restore(t, e, "/x/clients/list", map[string]string{name: "\x02" + value[1:] + "more"})
	}
	later := snapshotOf(t, e, "/x/clients/")
	for _, args := range [][]string{{"list"}, {"add"}, {"export"}, {"revoke", "com2"}, {"import", file}, {"import", "--replace", file}} {
		a.run(t, 1, `has version 2, this release reads version 1; run the same release at all gateways; to go back with all of them, remove the key clients/list`,
			append([]string{"client"}, args...)...)
	}
	if got := a.codes(t); got != "fleet-list-refused" {
		t.Errorf("of a later list: %s", got)
	}
	if now := snapshotOf(t, e, "/x/clients/"); !maps.Equal(now, later) {
		t.Errorf("the list has changed: %q", now)
	}
	if _, err := e.Root().Delete(t.Context(), "/x/clients/list"); err != nil {
		t.Fatal(err)
	}
	a.run(t, 0, "", "client", "import", file)
	a.run(t, 0, "com2", "client", "list")
}

// testWithoutEtcd: nothing changes, and the commands end.
func testWithoutEtcd(t *testing.T, a editor) {
	a.configure(t, "[fleet]\nname = \"a\"\nendpoints = [\"http://127.0.0.1:1\"]\ntimeout = \"100ms\"\n")
	a.run(t, 1, `read the fleet's list of clients: etcd is unavailable.*\nhint: .*sallyportd check -c .*fleet-clients.txt`, "client", "list")
	for _, args := range [][]string{{"client", "add"}, {"client", "export"}, {"port-secret", "roll"}, {"client", "profile", "com1"}} {
		a.run(t, 1, "etcd is unavailable", args...)
	}
	a.run(t, 1, `change the fleet's list of clients: etcd is unavailable.*\nhint: etcd may have made the change`, "client", "revoke", "com1")
	a.run(t, 1, `"error":"change the fleet's list .*"exit_code":1`, "client", "import", "--replace", "--json", a.path("three.txt"))
	if got := a.codes(t); got != "fleet-list-unread" {
		t.Errorf("without etcd: %s", got)
	}
	a.run(t, 0, `the fleet's list; the copy of this gateway is .*(?s).*cannot be read.*valid`, "check")

	// The rest of the configuration has a fault.
	a.configure(t, "[fleet]\nnome = \"a\"\n")
	a.run(t, 1, `nome.*\n(?s).*does not know the fleet's etcd.*hint: correct the configuration, or run the command at another gateway`, "client", "revoke", "com1")
	a.run(t, 2, "nome", "client", "list")
	a.write(t, config.FileName, strings.Replace(configtest.Text(configtest.Web), "ports = 3", "ports = 3\nserver = \"x\"", 1), 0o600)
	for _, args := range [][]string{{"import", "x"}, {"export"}, {"accept"}} {
		a.run(t, 2, `are in the file .*clients.txt\nhint: .*clients = "fleet"`, append([]string{"client"}, args...)...)
	}
	a.run(t, 2, `are in the file .*clients.txt`, "fleet-key", "new")
}

// TestFleetCommandsRights: a user of etcd that may only read the list, and one that may not.
func TestFleetCommandsRights(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{Users: []etcdtest.User{
		{Name: "reader", Password: "the password of reader", Read: []string{"/x/"}},
		{Name: "other", Password: "the password of other", Read: []string{"/y/"}},
		{Name: "editor", Password: "the password of editor", Read: []string{"/x/"}, Write: []string{"/x/clients/"}},
	}})
	of := func(user string) editor {
		d := newEditor(t, e, user, "/x/", fmt.Sprintf("user = %q\npassword_file = \"password\"\n", user))
		d.write(t, "password", "the password of "+user+"\n", 0o600)
		d.write(t, "clients_key", "sallyport-clients-key-"+strings.Repeat("ab", 32)+"\n", 0o600)
		return d
	}
	writer, reader, other := of("editor"), of("reader"), of("other")
	writer.run(t, 0, "has 3 clients", "client", "import", writer.write(t, "three.txt", threeClients, 0o600))
	reader.run(t, 0, "com3", "client", "list")
	if got := reader.codes(t); got != "" {
		t.Errorf("of a user that may read: %s", got)
	}
	for _, args := range [][]string{{"client", "add"}, {"client", "revoke", "com1"}, {"fleet-key", "reseal"}} {
		reader.run(t, 1, `etcd refuses the request: .*permission denied\nhint: run the command at a host whose user of etcd may change`, args...)
	}
	other.run(t, 1, `permission denied\nhint: run the command at a host whose user of etcd may read`, "client", "list")
	if got := other.codes(t); got != "fleet-denied" {
		t.Errorf("of a user that may not read: %s", got)
	}
	other.write(t, "password", "another password\n", 0o600)
	other.run(t, 1, `authentication failed`, "client", "list")
	if got := other.codes(t); got != "fleet-denied" {
		t.Errorf("of a wrong password: %s", got)
	}
}

// follow lets the gateway apply the list that etcd has, as its server does.
func (d editor) follow(t *testing.T) {
	t.Helper()
	l, cfg := d.list(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	applied := make(chan error, 1)
	go func() {
		applied <- l.Follow(ctx, func(_ context.Context, c fleetlist.Change) error {
			defer cancel()
			_, err := c.Load(cfg)
			return err
		}, func(context.Context, uint64, []roster.Change) {})
	}()
	<-ctx.Done()
	<-applied
	if _, err := durable.ReadFile(d.path("state/fleet-clients.txt")); err != nil {
		t.Fatal(err)
	}
}

// snapshotOf returns the keys of a prefix, by their names after it.
func snapshotOf(t *testing.T, e *etcdtest.Cluster, prefix string) map[string]string {
	t.Helper()
	got, err := e.Root().Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range got.Kvs {
		all[strings.TrimPrefix(string(kv.Key), prefix)] = string(kv.Value)
	}
	return all
}

// restore writes keys, as an attacker or a backup does.
func restore(t *testing.T, e *etcdtest.Cluster, prefix string, all map[string]string) {
	t.Helper()
	for name, value := range all {
		if _, err := e.Root().Put(t.Context(), prefix+name, value); err != nil {
			t.Fatal(err)
		}
	}
}
