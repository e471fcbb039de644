package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// containing is the environment variable of the first process of a Container.
const containing = "SALLYPORT_TEST_CONTAINER"

// bpfPath is where a container has its BPF file system.
const bpfPath = "/sys/fs/bpf"

// Container is a user, mount and network namespace, as a container without privileges
// has them: its root has all capabilities there, and none on the host.
type Container struct {
	*Host
	pid int // of its first process
}

// NewContainer makes a container, which exists as long as the test. If there are
// parameters, it has a BPF file system with them, such as delegate_cmds: from it a
// process of the container gets a BPF token. TestMain must call ContainerMain. The test
// must have the privileges of the host's root (see EnterPrivileged).
func NewContainer(t testing.TB, parameters map[string]string) *Container {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socketpair", err))
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "container"), os.NewFile(uintptr(pair[1]), "host")
	defer theirs.Close()
	all := []syscall.SysProcIDMap{{Size: 1 << 16}}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), containing+"=1")
	c.ExtraFiles, c.Stderr = []*os.File{theirs}, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: all, GidMappings: all,
	}
	if err := c.Start(); err != nil {
		t.Fatalf("start a container: %v", err)
	}
	t.Cleanup(func() {
		ours.Close() // it then ends
		c.Wait()
	})
	connection, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := delegate(connection.(*net.UnixConn), parameters); err != nil {
		t.Fatalf("make the file system of a container: %v", err)
	}
	return &Container{open(t, fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid)), c.Process.Pid}
}

// Enter returns the command, and its first arguments, that executes another one as the
// container's root.
func (c *Container) Enter() []string {
	return []string{"nsenter", "--target=" + strconv.Itoa(c.pid), "--user", "--mount", "--net", "--"}
}

// Here returns this namespace as a host, for the length of a test.
func Here(t testing.TB) *Host {
	t.Helper()
	return open(t, "/proc/thread-self/ns/net")
}

func open(t testing.TB, path string) *Host {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Host{f}
}

// delegate sets the parameters of the file system that the container has opened: only
// the host's root may. It returns when the container has mounted it.
func delegate(c *net.UnixConn, parameters map[string]string) error {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d messages with descriptors, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	for name, value := range parameters {
		if err := unix.FsconfigSetString(fds[0], name, value); err != nil {
			return fmt.Errorf("set %s to %s: %w", name, value, err)
		}
	}
	if err := unix.FsconfigCreate(fds[0]); err != nil {
		return os.NewSyscallError("fsconfig", err)
	}
	mount := []byte{0}
	if len(parameters) > 0 {
		mount[0] = 1
	}
	if _, err := c.Write(mount); err != nil {
		return err
	}
	if _, err := c.Read(mount); err != nil {
		return fmt.Errorf("the container has ended: %w", err)
	}
	return nil
}

// ContainerMain is the first process of a container, and does not return there. In other
// processes it does nothing. TestMain must call it first.
func ContainerMain() {
	if os.Getenv(containing) == "" {
		return
	}
	if err := contain(os.NewFile(3, "host")); err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// contain mounts the file system, and waits for the end of the test. The file system
// belongs to the user namespace of the process that opens it.
func contain(host *os.File) error {
	opened, err := unix.Fsopen("bpf", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	if err := unix.Sendmsg(int(host.Fd()), []byte{0}, unix.UnixRights(opened), nil, 0); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	mount := make([]byte, 1)
	if _, err := host.Read(mount); err != nil {
		return err
	}
	if mount[0] == 1 {
		mounted, err := unix.Fsmount(opened, unix.FSMOUNT_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fsmount", err)
		}
		err = unix.MoveMount(mounted, "", unix.AT_FDCWD, bpfPath, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if err != nil {
			return os.NewSyscallError("move_mount", err)
		}
	}
	if _, err := host.Write(mount); err != nil {
		return err
	}
	if _, err := host.Read(mount); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
