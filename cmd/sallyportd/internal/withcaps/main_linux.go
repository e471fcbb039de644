// Command with-capabilities executes a program with the capabilities that its own file
// grants, and with no way to gain others. It is the entrypoint of the image.
//
//	docker run --cap-add NET_ADMIN, as user 65532
//	  the engine allows the capability (bounding set), and grants none to this user
//	  -> with-capabilities   its file grants (permitted) what the engine allows
//	       raise             permitted -> inheritable, ambient: the next program keeps them
//	       no_new_privs      neither it nor its children gain a privilege by a file
//	  -> sallyportd          keeps what its configuration requires, and drops the rest
//
// With no_new_privs from the engine (--security-opt no-new-privileges), the kernel ignores
// what the file grants, and the program starts without. Root gets its capabilities from
// the kernel, and so from this command nothing.
//
// With --grant, it writes the grant to its own file, and lets only their owner enter the
// directories that follow: the last step of the image's build, because a copy between stages
// may lose both.
package main

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// granted are the capabilities that a server, or a holder, may use: see package privilege.
// CAP_SYS_ADMIN stands for CAP_BPF in engines that do not know it.
const granted = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_BPF | 1<<unix.CAP_SYS_ADMIN

// ended is the exit code if the program cannot be executed.
const ended = 126

func init() { runtime.LockOSThread() } // capabilities belong to a thread

func main() {
	if len(os.Args) < 2 {
		fail("expected a program, with its arguments, or --grant")
	}
	if os.Args[1] == "--grant" {
		check("write the grant", unix.Setxattr("/proc/self/exe", "security.capability", grant(), 0))
		for _, dir := range os.Args[2:] {
			check("close "+dir, os.Chmod(dir, 0o700))
		}
		return
	}
	if os.Geteuid() != 0 {
		check("raise capabilities", raise())
		check("set no_new_privs", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}
	check(os.Args[1], syscall.Exec(os.Args[1], os.Args[1:], os.Environ()))
}

// grant is what the attribute contains (struct vfs_cap_data, revision 2): permitted, and
// not effective, because with that bit the kernel refuses to execute the file if the
// engine does not allow all of them.
func grant() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000000)
	for _, half := range []uint32{granted & (1<<32 - 1), granted >> 32} {
		b = binary.LittleEndian.AppendUint32(b, half) // permitted
		b = binary.LittleEndian.AppendUint32(b, 0)    // inheritable
	}
	return b
}

// raise makes the next program keep the permitted capabilities of granted.
func raise() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	has := (uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32) & granted
	for i := range data {
		half := uint32(has >> (32 * i))
		data[i] = unix.CapUserData{Effective: half, Permitted: half, Inheritable: half}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	for c := range 64 {
		if has>>c&1 == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return err
		}
	}
	return nil
}

func check(what string, err error) {
	if err != nil {
		fail(what + ": " + err.Error())
	}
}

// fail uses no package fmt, so that the file stays small.
func fail(text string) {
	os.Stderr.WriteString("with-capabilities: " + text + "\n")
	os.Exit(ended)
}
