//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	kernel "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/logsink"
)

// filesVariable has the directory with the files of a test.
const filesVariable = "SANDBOX_FILES"

// filesOnly is the profile of a process without a filter of system calls.
const filesOnly = "files only"

// in returns a path in the directory of a test.
func in(path string) string { return filepath.Join(os.Getenv(filesVariable), path) }

// testFiles are those of a process: some of makeFiles.
func testFiles() Files {
	if os.Getenv(filesVariable) == "" {
		return Files{}
	}
	return Files{
		Read: []string{in("etc/config"), in("etc/link")}, Trees: []string{in("www")},
		Write: []string{in("state")}, Bind: []string{in("run/socket")}, Connect: []string{in("other/app/socket")},
	}
}

// makeFiles makes files, of which testFiles has some, and sockets.
func makeFiles(t *testing.T) string {
	dir, err := os.MkdirTemp("", "sandbox") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"etc", "www/images", "state/sub", "run", "other/app", "linked", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etc/config", "etc/replaced", "www/images/one", "state/record", "run/file", "linked/file", "linked/beside", "outside/file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("text"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../linked/file", filepath.Join(dir, "etc/link")); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{filepath.Join(dir, "other/app/socket"), filepath.Join(dir, "outside/socket"), "@" + dir} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	return dir
}

// landlocks returns the version of Landlock; 0: there is none.
func landlocks() int {
	version, err := kernel.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

// deniedFrom returns what becomes of an attempt that some processes, or all, may not make
// from a version of Landlock on.
func deniedFrom(version int, e ending, some ...string) map[string]ending {
	if landlocks() < version {
		return everywhere(works)
	}
	if len(some) == 0 {
		return everywhere(e)
	}
	all := everywhere(works)
	for _, profile := range some {
		all[profile] = e
	}
	return all
}

// deniedIn is deniedFrom for files.
func deniedIn(some ...string) map[string]ending { return deniedFrom(1, denied, some...) }

// signalling returns what becomes of a signal: the server wakes its runners.
func signalling() map[string]ending {
	if !ownSignals() {
		return everywhere(works)
	}
	return map[string]ending{"": forbidden, "programs": works}
}

func dials(address string) error {
	c, err := net.Dial("unix", address)
	if err == nil {
		c.Close()
	}
	return err
}

func connects(path string) func() error { return func() error { return dials(in(path)) } }

// logs reaches the journal, if there is one.
func logs() error {
	c, err := net.Dial("unixgram", logsink.DefaultJournal)
	if err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return present(err)
}

func newFile() error {
	f, err := os.CreateTemp("", "sandbox")
	if err == nil {
		f.Close()
		err = os.Remove(f.Name())
	}
	return err
}

func reads(path string) func() error {
	return func() error { _, err := os.ReadFile(in(path)); return err }
}

// writes changes a file, if it is there.
func writes(path string) func() error {
	return func() error { return os.WriteFile(in(path), []byte("new"), 0o600) }
}

// replaces replaces a file, as a record is replaced, and removes it.
func replaces(path string) func() error {
	return func() error {
		err := os.WriteFile(in(path)+".new", []byte("new"), 0o600)
		if err == nil {
			err = os.Rename(in(path)+".new", in(path))
		}
		if err == nil {
			err = os.Remove(in(path))
		}
		return err
	}
}

// listens makes a socket twice, and connects to it.
func listens(path string) func() error {
	return func() error {
		for range 2 {
			l, err := net.Listen("unix", in(path))
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			c, err := net.Dial("unix", in(path))
			if err == nil {
				c.Close()
				l.Close()
				err = os.Remove(in(path))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// fileAttempts are the attempts with files.
var fileAttempts = map[string]attempt{
	"a file outside":                    {reads("outside/file"), deniedIn()},
	"a list of files outside":           {func() error { _, err := os.ReadDir(in("outside")); return err }, deniedIn()},
	"a change of a file outside":        {writes("outside/file"), deniedIn()},
	"a new file outside":                {writes("outside/new"), deniedIn()},
	"a new directory outside":           {func() error { return os.Mkdir(in("outside/new"), 0o700) }, deniedIn()},
	"a new link outside":                {func() error { return os.Symlink("x", in("outside/new")) }, deniedIn()},
	"the end of a file outside":         {func() error { return os.Remove(in("outside/file")) }, deniedIn()},
	"a shorter file outside":            {func() error { return os.Truncate(in("outside/file"), 0) }, deniedIn()},
	"a file that is moved outside":      {func() error { return os.Rename(in("state/record"), in("outside/record")) }, deniedIn()},
	"a configuration":                   {reads("etc/config"), deniedIn("capturer")},
	"a configuration's other file":      {reads("etc/replaced"), deniedIn("capturer")},
	"a file by a link":                  {reads("etc/link"), deniedIn("capturer")},
	"a file beside a linked one":        {reads("linked/beside"), deniedIn("capturer")},
	"a change of a configuration":       {writes("etc/config"), deniedIn()},
	"a new file beside a configuration": {writes("etc/new"), deniedIn()},
	"a file that is served":             {reads("www/images/one"), deniedIn("capturer")},
	"a change of a file that is served": {writes("www/images/one"), deniedIn()},
	"a record of the state":             {reads("state/record"), deniedIn("capturer")},
	"a change of the state":             {replaces("state/record"), deniedIn("capturer")},
	"a new file of the state":           {replaces("state/new"), deniedIn("capturer")},
	"a list of the state":               {func() error { _, err := os.ReadDir(in("state")); return err }, deniedIn("capturer")},
	"a socket in the state":             {listens("state/sub/socket"), deniedIn("capturer")},
	"a new directory in the state":      {func() error { return os.Mkdir(in("state/new"), 0o700) }, deniedIn("capturer")},
	"a device in the state":             {func() error { return unix.Mkfifo(in("state/pipe"), 0o600) }, everywhere(unknown)},
	"a socket of the administrator":     {listens("run/socket"), deniedIn("capturer")},
	"a file beside a socket":            {reads("run/file"), deniedIn()},
	"a new file beside a socket":        {writes("run/new"), deniedIn()},
	"the resolver's file":               {func() error { _, err := os.ReadFile("/etc/resolv.conf"); return present(err) }, deniedIn("capturer")},
	"the names of hosts":                {func() error { _, err := os.ReadFile("/etc/hosts"); return present(err) }, deniedIn("capturer")},
	"the list of users":                 {func() error { _, err := os.ReadFile("/etc/passwd"); return present(err) }, deniedIn("capturer")},
	"a change of the system":            {func() error { f, err := os.OpenFile("/proc/self/comm", os.O_WRONLY, 0); f.Close(); return err }, deniedIn()},
	"a property of the kernel":          {func() error { _, err := os.ReadDir("/sys/kernel"); return err }, deniedIn("capturer")},
	"the null device":                   {func() error { f, err := os.OpenFile("/dev/null", os.O_RDWR, 0); f.Close(); return err }, deniedIn("capturer")},
	"a socket of another program":       {connects("other/app/socket"), deniedFrom(resolveUnix, denied, "capturer")},
	"a socket outside":                  {connects("outside/socket"), deniedFrom(resolveUnix, denied)},
	"the log's socket":                  {logs, everywhere(works)},
	"a socket without a file":           {func() error { return dials("@" + os.Getenv(filesVariable)) }, deniedFrom(6, forbidden)},
	"a signal to another process":       {func() error { return unix.Kill(os.Getppid(), 0) }, signalling()},
}

// present accepts that a file is not there.
func present(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// restrictFiles is a process that has the files of the server, and every system call: it
// executes a program of each place.
func restrictFiles() {
	_, _, err := takeFiles(Server(testFiles(), false))
	for _, path := range []string{"/proc/self/exe", in("etc/config"), in("state/record"), in("outside/file")} {
		if err == nil {
			if failed := syscall.Exec(path, []string{path}, nil); failed != syscall.EACCES {
				err = fmt.Errorf("%s: %w, want EACCES", path, failed)
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestNoProgram: Landlock alone forbids each program, also one that the process can write.
func TestNoProgram(t *testing.T) {
	if landlocks() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), profileVariable+"="+filesOnly, filesVariable+"="+makeFiles(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestJournalDirectory: the directory that stays is that of the log's socket.
func TestJournalDirectory(t *testing.T) {
	if got := filepath.Dir(logsink.DefaultJournal); got != journalDir {
		t.Errorf("the log writes to a socket in %s, and %s stays", got, journalDir)
	}
}

// TestAuthoritiesThatStay: all directories of SSL_CERT_DIR stay, as crypto/x509 reads them, and
// the directory to which a directory of the system leads by a link.
func TestAuthoritiesThatStay(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	t.Setenv("SSL_CERT_DIR", one+":"+two)
	got := Files{}.withSystem().allowed().Read
	for _, dir := range []string{one, two, real("/etc/ssl/certs")} {
		if dir != "" && !within(dir, got) {
			t.Errorf("%s does not stay: %v", dir, got)
		}
	}
}

// TestDirectoriesThatStay: a file stays with its directory and those to which links lead,
// also in the form of Kubernetes, whose files are replaced by a change of one link.
func TestDirectoriesThatStay(t *testing.T) {
	dir := t.TempDir()
	at := func(path string) string { return filepath.Join(dir, path) }
	for _, name := range []string{"secrets/..1", "secrets/..2", "live", "archive", "app", "www/1", "www/2"} {
		if err := os.MkdirAll(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"secrets/..data": "..1", "secrets/port": "..data/port", "live/cert": "../archive/cert1", "www/now": "1", "live/later": "../app/not/there/yet",
	} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		files, outside Files
		want           Allowed
	}{
		"Kubernetes":                    {Files{Read: []string{at("secrets/port")}}, Files{Read: []string{at("live/cert")}}, Allowed{Read: []string{at("secrets"), at("secrets/..1")}}},
		"certbot":                       {Files{Read: []string{at("live/cert")}}, Files{Read: []string{at("other")}}, Allowed{Read: []string{at("archive"), at("live")}}},
		"a site":                        {Files{Trees: []string{at("www/1")}}, Files{Trees: []string{at("www/2")}}, Allowed{Read: []string{at("www/1")}}},
		"a site by a link":              {Files{Trees: []string{at("www/now")}}, Files{Trees: []string{at("app")}}, Allowed{Read: []string{at("www"), at("www/1")}}},
		"a link to what comes later":    {Files{Read: []string{at("live/later")}}, Files{Read: []string{at("other")}}, Allowed{Read: []string{at("app"), at("live")}}},
		"a file in the root":            {Files{Read: []string{"/config.toml"}}, Files{Read: []string{at("secrets/port")}}, Allowed{}},
		"a state that is not there yet": {Files{Write: []string{at("app/state")}}, Files{Read: []string{at("secrets/port")}}, Allowed{Write: []string{at("app")}}},
		"a state below the root":        {Files{Write: []string{"/not/there/yet"}}, Files{Read: []string{at("secrets/port")}}, Allowed{}},
		"a socket":                      {Files{Bind: []string{at("app/socket")}}, Files{Connect: []string{at("secrets/..1/socket")}}, Allowed{Bind: []string{at("app")}}},
		"another program's socket":      {Files{Connect: []string{at("www/1/socket")}}, Files{Connect: []string{at("app/socket")}}, Allowed{Connect: []string{at("www")}}},
	} {
		got := test.files.allowed()
		if !slices.Equal(got.Read, test.want.Read) || !slices.Equal(got.Write, test.want.Write) || !slices.Equal(got.Bind, test.want.Bind) || !slices.Equal(got.Connect, test.want.Connect) {
			t.Errorf("%s: %v stays, want %v", name, got, test.want)
		}
		in := Report{Process: "server", Landlock: resolveUnix, Files: &got}
		if err := in.Admits(test.files); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := in.Admits(test.outside); err == nil || !strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: a file outside: %v", name, err)
		}
		if err := (Report{Files: &got}).Admits(test.outside); err != nil {
			t.Errorf("%s: without Landlock: %v", name, err)
		}
	}
	os.Remove(at("secrets/..data"))
	if err := os.Symlink("..2", at("secrets/..data")); err != nil {
		t.Fatal(err)
	}
	before := Allowed{Read: []string{at("secrets"), at("secrets/..1")}}
	if outside := before.outside(Files{Read: []string{at("secrets/port")}}, false); outside != "" {
		t.Errorf("a replaced secret is outside: %s", outside)
	}
}
