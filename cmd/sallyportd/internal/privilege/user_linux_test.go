package privilege

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stage is which of a chain of programs this one is.
const stage = "TEST_STAGE"

// TestUserKeepsGroups: the user of the configuration has its own groups, and none
// of root's; the next program verifies its user.
func TestUserKeepsGroups(t *testing.T) {
	name := os.Getenv("TEST_USER")
	switch os.Getenv(stage) {
	case "":
	case "root":
		who, err := lookupUser(name)
		if err != nil || who == nil {
			t.Fatalf("%+v, %v", who, err)
		}
		os.Setenv(stage, "user")
		t.Fatal(dropAndReexec(0, who, descriptors{}))
	case "user":
		in, err := inherited(0)
		if err != nil || !in.dropped || !in.switched {
			t.Fatalf("%+v, %v", in, err)
		}
		if err := in.verifyUser(name); err != nil {
			t.Error(err)
		}
		for _, other := range []string{"0", "4242"} {
			if err := in.verifyUser(other); err == nil {
				t.Errorf("passes for user %s", other)
			}
		}
		is, err := current()
		fmt.Printf("groups: %v, %v\n", is.groups, err)
		fmt.Println(Unreadable(&os.PathError{Op: "open", Path: "key", Err: syscall.EACCES}).(interface{ Hint() string }).Hint())
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can switch to another user")
	}
	// Another list of users: sally is in two groups more.
	dir := t.TempDir()
	for file, text := range map[string]string{
		"passwd": "root:x:0:0::/:/bin/sh\nsally:x:4343:4344::/:/bin/sh\n",
		"group":  "root:x:0:\nsally:x:4344:\ncert:x:4345:sally\nother:x:4346:\nweb:x:4347:root,sally\n",
	} {
		if err := os.WriteFile(dir+"/"+file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("unshare", "-m", "sh", "-c", fmt.Sprintf("mount --bind %s/passwd /etc/passwd && mount --bind %s/group /etc/group && exec %s -test.run='^TestUserKeepsGroups$' -test.v", dir, dir, executable(t)))
	cmd.Env = append(os.Environ(), stage+"=root", "TEST_USER=sally")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "groups: [4344 4345 4347], <nil>") {
		t.Errorf("%v\n%s", err, out)
	}
	want := "runs as user sally (4343), with the groups sally (4344), cert (4345), web (4347) and no privilege"
	if !strings.Contains(string(out), want) {
		t.Errorf("expected %q in\n%s", want, out)
	}
	// A number that no list has.
	cmd = exec.Command(executable(t), "-test.run=^TestUserKeepsGroups$", "-test.v")
	cmd.Env = append(os.Environ(), stage+"=root", "TEST_USER=4848")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "groups: [4848], <nil>") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUserNumbers: system calls take the last number of 32 bits for "no change", and
// would cut a larger one.
func TestUserNumbers(t *testing.T) {
	for name, valid := range map[string]bool{
		"4242": true, "4294967294": true, "4294967295": false, "4294967296": false, "4294967297": false, "8589934592": false,
		"18446744073709551616": false, "-5": false,
	} {
		id, err := UserID("program_user", name)
		_, errServer := findUser("user", name)
		if (err == nil) != valid || (errServer == nil) != valid || valid && fmt.Sprint(id) != name {
			t.Errorf("%s: %d, %v, %v", name, id, err, errServer)
		}
	}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHolderOfAnotherUserAnswers: root finds the holder at the socket of the server's
// user also without the right to every file, as under the unit for programs.
func TestHolderOfAnotherUserAnswers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can switch to another user")
	}
	if socket := os.Getenv("TEST_SOCKET"); socket != "" {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		some := uint32(1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_DAC_READ_SEARCH)
		data := [2]unix.CapUserData{{Effective: some, Permitted: some}}
		runtime.LockOSThread()
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("unixpacket", socket); !errors.Is(err, syscall.EACCES) {
			t.Fatalf("root may connect: %v", err)
		}
		who := &identity{uid: 4343, gid: 4344}
		fmt.Println("answers:", answers(t.Context(), socket, who), answers(t.Context(), socket+"x", who))
		return
	}
	dir := t.TempDir()
	l, err := net.Listen("unixpacket", dir+"/holder.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for file, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o711, dir: 0o700, dir + "/holder.sock": 0o600} {
		if err := errors.Join(os.Chmod(file, mode), os.Chown(file, 4343, 4344)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(executable(t), "-test.run=^TestHolderOfAnotherUserAnswers$", "-test.v")
	cmd.Env = append(os.Environ(), "TEST_SOCKET="+dir+"/holder.sock")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "answers: true false") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWhatWasPromisedIsVerified: a process that has no privileges, and is another
// user than the configuration's, does not pass for one that has switched.
func TestWhatWasPromisedIsVerified(t *testing.T) {
	is, err := current()
	if err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprint(is.uids[1])
	for _, row := range []struct {
		in   inheritance
		user string
		want string // of the error; empty: none
	}{
		{inheritance{dropped: true}, "", ""},
		{inheritance{}, "4242", ""}, // it has promised nothing
		{inheritance{dropped: true}, me, ""},
		{inheritance{dropped: true}, "4242", "is not user 4242"},
		{inheritance{dropped: true, switched: true}, "4242", "is not user 4242"},
		{inheritance{dropped: true}, "no such user", "no such user"},
	} {
		if me == "0" && row.user == me {
			row.user = "root"
		}
		err := row.in.verifyUser(row.user)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%+v: %v", row, err)
		}
	}
	// The user's number is not enough: a process that has switched has the user's
	// groups.
	if os.Geteuid() != 0 {
		return
	}
	in := inheritance{dropped: true, switched: true}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 4242, 4242, 4242); e != 0 {
			done <- e
			return
		}
		done <- in.verifyUser("4242")
	}()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "does not have the groups of user 4242") {
		t.Errorf("with root's groups: %v", err)
	}
}

// TestUnreadable: the hint about files is for files and Unix sockets, and not for ports.
func TestUnreadable(t *testing.T) {
	for network, want := range map[string]bool{"udp": false, "tcp": false, "unix": true, "unixpacket": true} {
		err := fmt.Errorf("start: %w", &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", unix.EACCES)})
		if got := Unreadable(err) != err; got != want {
			t.Errorf("%s: with a hint: %t", network, got)
		}
	}
	if err := error(&os.PathError{Op: "open", Path: "x", Err: unix.EACCES}); Unreadable(err) == err {
		t.Error("a file: no hint")
	}
	// A file that cannot be made: the directory is what the user requires.
	dir := t.TempDir()
	err := Unreadable(&os.PathError{Op: "open", Path: filepath.Join(dir, "new"), Err: unix.EACCES})
	hint := err.(interface{ Hint() string }).Hint()
	if !strings.HasSuffix(hint, "access to the directory '"+dir+"'") || strings.Contains(hint, "chown") {
		t.Errorf("a file that does not exist: %s", hint)
	}
}
