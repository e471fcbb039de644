package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
)

// TestCheckPrograms: each row changes one file or key of a configuration without a
// finding, and has the only finding, or the error, that this makes.
func TestCheckPrograms(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	const user, other = 54321, 54322
	// Not below TMPDIR, which other users may not enter.
	top, err := os.MkdirTemp("/tmp", "programs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	path := func(name string) string { return filepath.Join(top, name) }
	own := func(name string, uid, gid int, mode os.FileMode) {
		t.Helper()
		if err := os.Lchown(path(name), uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`
[[service]]
name = "site"
type = "process"
listen = "127.0.0.1:8443"
program = ["%[1]s/bin/site"]
program_user = "%[2]d"
program_dir = "%[1]s/srv"
upstream = "unix:%[1]s/run/socket"
[[service]]
name = "hook"
type = "command"
on_open = ["/bin/true"]
command_user = "54323"
`, top, user)
	reset := func() {
		t.Helper()
		for _, dir := range []string{"bin", "srv", "run", "link"} {
			os.RemoveAll(path(dir))
			if err := os.Mkdir(path(dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path("bin/site"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		own("", 0, 0, 0o755)
		own("run", user, 0, 0o710)
	}
	write := func(name, text string) {
		if err := os.WriteFile(path(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name   string
		change func() // of files
		old    string // in the configuration
		new    string
		want   string // code and a part of the text; empty: no finding
	}{
		{name: "sound"},
		{name: "no program", change: func() { os.Remove(path("bin/site")) }, want: "program-missing: service site: program: " + top + "/bin/site does not exist"},
		{name: "not executable", change: func() { own("bin/site", 0, 0, 0o644) }, want: "program-not-executable: service site: program: "},
		{name: "a directory", change: func() { os.Remove(path("bin/site")); os.Mkdir(path("bin/site"), 0o755) }, want: "program-not-executable: service site: program: " + top + "/bin/site is a directory"},
		{name: "a script", change: func() { write("bin/site", "#! /bin/sh -e\n") }},
		{name: "a script without an interpreter", change: func() { write("bin/site", "#!/no/such -e\n") }, want: "program-interpreter-missing: service site: program: " + top + "/bin/site names the interpreter \"/no/such\", which does not exist"},
		{name: "a script of Windows", change: func() { write("bin/site", "#!/bin/sh\r\n") }, want: `names the interpreter "/bin/sh\r", which does not exist`},
		{name: "a script without a name", change: func() { write("bin/site", "#!\n") }},
		{name: "setuid", change: func() { own("bin/site", 0, 0, 0o755|os.ModeSetuid) }, want: "program-setuid: service site: program: " + top + "/bin/site is a setuid or setgid file"},
		{name: "setgid", change: func() { own("bin/site", 0, 0, 0o755|os.ModeSetgid) }, want: "program-setuid: "},
		{name: "executable by others", change: func() { own("bin/site", 0, 0, 0o750) }, want: "program-denied: service site: program: user 54321 may not execute"},
		{name: "in a closed directory", change: func() { own("bin", 0, 0, 0o700) }, want: "program-denied: service site: program: user 54321 may not execute"},
		{name: "of another user", change: func() { own("bin/site", other, 0, 0o755) }, want: "program-replaceable: service site: program: user 54322, the owner of " + top + "/bin/site, can replace"},
		{name: "of its user", change: func() { own("bin/site", user, user, 0o755) }},
		{name: "writable by all", change: func() { own("bin/site", 0, 0, 0o777) }, want: "program-replaceable: service site: program: each local user, by the mode of " + top + "/bin/site, can replace"},
		{name: "writable by a group", change: func() { own("bin/site", 0, other, 0o775) }, want: "program-replaceable: service site: program: group 54322, by the mode of"},
		{name: "writable by root's group", change: func() { own("bin/site", 0, 0, 0o775) }},
		{name: "in a writable directory", change: func() { own("bin", 0, 0, 0o777) }, want: "program-replaceable: service site: program: each local user, by the mode of " + top + "/bin, can replace"},
		{name: "in a writable directory with the sticky bit", change: func() { own("bin", 0, 0, 0o777|os.ModeSticky) }},
		{name: "by a link of another user", change: func() {
			os.Rename(path("bin/site"), path("srv/site"))
			os.Symlink("../srv/site", path("bin/site"))
			os.Lchown(path("bin/site"), other, 0)
			own("bin", 0, 0, 0o777|os.ModeSticky)
		}, want: "program-replaceable: service site: program: user 54322, the owner of " + top + "/bin/site, can replace"},
		{name: "by a link into a writable directory", change: func() {
			os.Rename(path("bin/site"), path("link/site"))
			os.Symlink(path("link/site"), path("bin/site"))
			own("link", 0, 0, 0o777)
		}, want: "program-replaceable: service site: program: each local user, by the mode of " + top + "/link, can replace"},
		{name: "no working directory", change: func() { os.Remove(path("srv")) }, want: "program-dir-missing: service site: program: the working directory " + top + "/srv does not exist"},
		{name: "a file as the working directory", change: func() { os.Remove(path("srv")); os.WriteFile(path("srv"), nil, 0o644) }, want: "program-dir-missing: service site: program: the working directory " + top + "/srv is not a directory"},
		{name: "a closed working directory", change: func() { own("srv", 0, 0, 0o700) }, want: "program-dir-denied: service site: program: user 54321 may not enter"},
		{name: "no directory for the socket", change: func() { os.Remove(path("run")) }, want: "program-socket-dir-missing: service site: upstream: "},
		{name: "a socket of all", change: func() { own("run", user, 0, 0o733) }, want: "program-socket-replaceable: service site: upstream: each local user, by the mode of " + top + "/run, can make another socket"},
		{name: "a socket in a directory with the sticky bit", change: func() { own("run", 0, 0, 0o773|os.ModeSticky) }, want: "program-socket-replaceable: "},
		{name: "a directory that is not the user's", change: func() { own("run", 0, 0, 0o700) }, want: "program-socket-denied: service site: upstream: user 54321 may not make a socket in"},
		{name: "a directory of the system", old: top + "/run/", new: "/run/", want: "program-socket-denied: service site: upstream: user 54321 may not make a socket in /run"},
		{name: "on the loopback", old: `"unix:` + top + `/run/socket"`, new: `"127.0.0.1:8081"`, want: "program-on-loopback: service site: while the program runs, each local user can connect to it at 127.0.0.1:8081"},
		{name: "inherited", old: `"unix:` + top + `/run/socket"`, new: `"inherit"`},
		{name: "a user for two services", old: `"54323"`, new: `"54321"`, want: "program-user-shared: programs of the services site, hook run as user 54321"},
		{name: "a user for two services, the command first", old: "[[service]]\nname = \"site\"",
			new:  "[[service]]\nname = \"first\"\ntype = \"command\"\non_open = [\"/bin/true\"]\ncommand_user = \"54321\"\n[[service]]\nname = \"site\"",
			want: "program-user-shared: programs of the services first, site run as user 54321"},
		{name: "no user", old: `"54323"`, new: `"no-such-user"`, want: `service hook: command_user = "no-such-user": this host has no such user`},
		{name: "the server's user", old: `[[service]]`, new: "user = \"054321\"\n[[service]]", want: `service site: program_user: expected a user that is neither root nor the server's, got "54321", with the number 54321`},
	} {
		reset()
		if row.change != nil {
			row.change()
		}
		cfg := configtest.Parse(t, top, strings.Replace(text, row.old, row.new, 1))
		found, err := checkPrograms(cfg)
		if err != nil {
			found = append(found, finding{Text: err.Error()})
		}
		var got []string
		for _, f := range found {
			got = append(got, strings.TrimPrefix(f.Code+": "+f.Text, ": "))
		}
		// The right to write to such a directory includes the right to reach sockets there.
		got = slices.DeleteFunc(got, func(f string) bool {
			return strings.HasPrefix(f, "program-socket-reachable: ") && strings.HasPrefix(row.want, "program-socket-replaceable: ")
		})
		if len(got) > 1 || (len(got) == 1) != (row.want != "") || len(got) == 1 && !strings.Contains(got[0], row.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", row.name, got, row.want)
		}
	}
	if os.Geteuid() != 0 {
		t.Error("the process has another user afterwards")
	}
}

// TestCheckConfigOwner: a user who can change the configuration chooses the programs.
func TestCheckConfigOwner(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	top, err := os.MkdirTemp("/tmp", "programs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	const server, other = 54321, 54322
	for _, row := range []struct {
		dir, file int // the owners
		mode      os.FileMode
		server    uint32
		want      string // code and text; empty: no finding
	}{
		{0, 0, 0o755, server, ""},
		{server, server, 0o700, server, "config-of-server: the server's user 54321 can replace "},
		{0, server, 0o755, server, "config-of-server: "},
		{server, 0, 0o755, server, "config-of-server: "},
		{other, other, 0o755, server, "config-replaceable: user 54322, the owner of "},
		{other, 0, 0o755, server, "config-replaceable: "},
		{0, 0, 0o777, server, "config-replaceable: each local user, by the mode of "},
		{0, 0, 0o755, 0, ""},
		{server, 0, 0o755, 0, "config-replaceable: user 54321, "},
	} {
		cfg := configtest.Parse(t, top, configtest.Web)
		if err := os.WriteFile(cfg.Path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{os.Chown(cfg.Path, row.file, 0), os.Chown(top, row.dir, 0), os.Chmod(top, row.mode)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for _, f := range checkConfigOwner(cfg, row.server) {
			got += f.Code + ": " + f.Text
		}
		if !strings.HasPrefix(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%+v: got %q", row, got)
		}
	}
}

// TestCheckClosing: a recorded command that the next start drops is a warning.
func TestCheckClosing(t *testing.T) {
	cfg := configtest.Parse(t, t.TempDir(), configtest.Web+"[[service]]\nname = \"hook\"\ntype = \"command\"\non_close = [\"/bin/true\"]\ncommand_user = \"www\"\n")
	if err := os.Mkdir(cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if found := checkClosing(cfg); len(found) > 0 {
		t.Errorf("without a record: %+v", found)
	}
	of := func(service string) state.Closing {
		a := netip.MustParseAddr("192.0.2.1")
		return state.Closing{Service: service, Address: a, Peer: access.PeerOf(a, access.PrefixHost), Since: time.Unix(1800000000, 0)}
	}
	list := []state.Closing{of("hook"), of("web"), of("gone"), of("gone")}
	if err := state.WriteClosing(cfg.StateDir, list); err != nil {
		t.Fatal(err)
	}
	found := checkClosing(cfg)
	if len(found) != 2 || !strings.Contains(found[0].Text, "service gone (2 leases), which has no on_close") ||
		!strings.Contains(found[1].Text, "service web (1 lease)") {
		t.Errorf("%+v", found)
	}
}
