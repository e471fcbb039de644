package xdp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/bench/race"
)

// child is the environment variable that makes TestMain do a task instead of tests.
const child = "SALLYPORT_TEST_XDP"

var tasks = map[string]func() error{
	"load":      taskLoad,
	"forbidden": taskForbidden,
	"adopt":     taskAdopt,
	"attach":    taskAttach,
}

func TestMain(m *testing.M) {
	task := tasks[os.Getenv(child)]
	if task == nil {
		race.Children()
		os.Exit(m.Run())
	}
	if err := task(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("done")
	io.Copy(io.Discard, os.Stdin) // until the parent closes it, or kills this process
}

// start starts a task as a user without privileges, except for these capabilities, and
// returns its result: the first line.
func start(t *testing.T, task string, files []*os.File, argument string, capabilities ...uintptr) (line string, c *exec.Cmd) {
	t.Helper()
	c = exec.CommandContext(t.Context(), "/proc/self/exe")
	c.Env = append(os.Environ(), child+"="+task, child+"_ARGUMENT="+argument)
	c.ExtraFiles, c.Stderr = files, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: capabilities,
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the task %s: %v", task, err)
	}
	return strings.TrimSpace(line), c
}

func taskLoad() error {
	p, err := Load(Sizes{})
	if err != nil {
		return err
	}
	return p.SetAddresses([]Address{{host4, hostMAC}})
}

// TestCapabilities: CAP_BPF and CAP_NET_ADMIN are enough, and an error names the one
// that is missing.
func TestCapabilities(t *testing.T) {
	if !netns.Privileged() {
		t.Skip("needs the host's root")
	}
	for _, c := range []struct {
		capabilities []uintptr
		want         string
	}{
		{[]uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN}, "done"},
		{[]uintptr{unix.CAP_SYS_ADMIN}, "done"}, // an engine that does not know CAP_BPF
		{[]uintptr{unix.CAP_NET_ADMIN}, "CAP_BPF"},
		{[]uintptr{unix.CAP_BPF}, "CAP_NET_ADMIN"},
		{nil, "CAP_BPF"},
	} {
		line, _ := start(t, "load", nil, "", c.capabilities...)
		if !strings.Contains(line, c.want) || c.want != "done" && !strings.Contains(line, ErrPrivilege.Error()) {
			t.Errorf("with %v: %q, want %q", c.capabilities, line, c.want)
		}
	}
}

func taskAttach() error {
	p, err := Load(Sizes{})
	if err != nil {
		return err
	}
	return attachArgument(p)
}

func attachArgument(p *Program) error {
	var index int
	if err := json.Unmarshal([]byte(os.Getenv(child+"_ARGUMENT")), &index); err != nil {
		return err
	}
	_, err := p.Attach(index)
	return err
}

// taskAdopt takes over the program of the parent.
func taskAdopt() error {
	descriptors := map[string]int{}
	for i, name := range descriptorNames() {
		descriptors[name] = 3 + i
	}
	p, err := FromDescriptors(descriptors)
	if err != nil {
		return err
	}
	if len(p.present) != 1 {
		return fmt.Errorf("%d addresses, want 1", len(p.present))
	}
	if err := p.SetAddresses([]Address{{host6, hostMAC}}); err != nil {
		return err
	}
	if err := p.CheckFlows(); err != nil {
		return err
	}
	return attachArgument(p)
}

func descriptorNames() []string {
	return append([]string{descriptorAddresses, descriptorHost, descriptorNative, descriptorGeneric}, ArrayNames...)
}

// TestFromDescriptors: a process with CAP_NET_ADMIN alone goes on with a program that
// another has loaded.
func TestFromDescriptors(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	here, _, _ := pair(t)
	p := load1(t, Sizes{})
	if err := p.SetAddresses([]Address{{host4, hostMAC}}); err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, name := range descriptorNames() {
		fd, err := unix.Dup(p.Descriptors()[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), name))
		defer files[len(files)-1].Close()
	}
	line, _ := start(t, "adopt", files, fmt.Sprint(here.Attrs().Index), unix.CAP_NET_ADMIN)
	if line != "done" {
		t.Error(line)
	}
	value := uint32(0)
	if p.addresses.Lookup(Address{host6, hostMAC}.key(), &value) != nil || p.addresses.Lookup(Address{host4, hostMAC}.key(), &value) == nil {
		t.Error("the addresses are not those of the other process")
	}
	if _, err := FromDescriptors(map[string]int{}); err == nil {
		t.Error("no descriptors are no error")
	}
}

// TestKilledHolder: the kernel detaches the program when its holder is killed.
func TestKilledHolder(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	here, _, _ := pair(t)
	attached := func() bool {
		i, err := ProbeInterface("here")
		if err != nil {
			t.Fatal(err)
		}
		return i.Program != 0
	}
	line, holder := start(t, "attach", nil, fmt.Sprint(here.Attrs().Index), unix.CAP_BPF, unix.CAP_NET_ADMIN)
	if line != "done" || !attached() {
		t.Fatalf("%s, attached: %v", line, attached())
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	netns.Until(t, "the program is detached", func() bool { return !attached() })
}
