package privilege

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/runner"
)

// The names of the descriptors of a runner: the first with the user's number, the
// others with that name before them.
const (
	runnerName   = "runner-" // between server and runner
	runnerLife   = "-life"   // a pipe: the runner and its supervisors have one end as long as they live
	runnerPID    = "-pid"    // pidfd
	runnerKill   = "-kill"   // cgroup.kill of the control group, if there is one
	runnerEvents = "-events" // and cgroup.events
	runnerGroups = "cgroup"  // its directory, for the runner
	runnerPolicy = "policy"  // the programs of the runner
	runnerStatus = "status"  // a pipe, on which the runner reports whether its namespaces are complete
)

// ready is what a runner reports if its namespaces are complete.
const ready = 'r'

// byUser returns programs by the numbers of their users. No program may run as root,
// or as the server's user: such a program could trace the server, and read its secrets.
func byUser(programs []program.Program, server int) (map[int][]program.Program, map[int]identity, error) {
	all, users := map[int][]program.Program{}, map[int]identity{}
	for _, p := range programs {
		who, err := findUser(p.Role.UserKey(), p.User)
		if err != nil {
			return nil, nil, fmt.Errorf("service %s: %w", p.Service, err)
		}
		refused := ""
		switch who.uid {
		case 0:
			refused = "a program must not run as root"
		case server:
			refused = "a program must not run as the server's user: it could read the server's secrets"
		}
		if refused != "" {
			return nil, nil, hint.Misuse(hint.With(fmt.Errorf("service %s: %s = %q: %s", p.Service, p.Role.UserKey(), p.User, refused),
				"make a user for the program, for example \"useradd --system --no-create-home "+strings.ToLower(p.Service)+"\""))
		}
		all[who.uid], users[who.uid] = append(all[who.uid], p), who
	}
	return all, users, nil
}

// serverUser returns the number of the user that the server runs as.
func serverUser(name string) (int, error) {
	if name == "" {
		return os.Geteuid(), nil
	}
	who, err := findUser("user", name)
	return who.uid, err
}

// checkPrograms returns an error if this process cannot start the runners of programs.
func checkPrograms(programs []program.Program, user string, h Host) error {
	if len(programs) == 0 {
		return nil
	}
	server, err := serverUser(user)
	if err != nil {
		return err
	}
	if _, _, err := byUser(programs, server); err != nil {
		return err
	}
	if err := runner.Validate(programs); err != nil {
		return hint.Misuse(err)
	}
	if h.Held&SetIDs != SetIDs {
		p := programs[0]
		return hint.Misuse(hint.With(fmt.Errorf("service %s starts programs as user %s, which requires CAP_SETUID and CAP_SETGID; this process does not have them", p.Service, p.User),
			"start the server as root, with \"user\" set: it starts a process for each user of programs, and then drops all privileges"))
	}
	return nil
}

// startRunners starts a runner for each user of programs. It returns the descriptors
// that connect the server to them.
func startRunners(p Plan, h Host) (descriptors, error) {
	left := descriptors{}
	if len(p.Programs) == 0 {
		return left, nil
	}
	server, err := serverUser(p.User)
	if err != nil {
		return nil, err
	}
	all, users, err := byUser(p.Programs, server)
	if err != nil {
		return nil, err
	}
	for _, uid := range slices.Sorted(maps.Keys(all)) {
		d, err := startRunner(all[uid], users[uid], server, p.Runner, h.Held&SysAdmin != 0)
		if err != nil {
			return nil, fmt.Errorf("start the process that starts the programs of user %s: %w", all[uid][0].User, err)
		}
		name := runnerName + strconv.Itoa(uid)
		left[name], left[name+runnerLife], left[name+runnerPID] = d.socket, d.lifeline, d.process
		if d.kill >= 0 {
			left[name+runnerKill], left[name+runnerEvents] = d.kill, d.events
		}
	}
	return left, nil
}

// runnerEnds are the server's ends, which stay open.
type runnerEnds struct {
	socket, lifeline, process int
	kill, events              int // -1: no control group
}

// startRunner starts a runner, in namespaces of processes and mounts if the host
// allows that: the kernel then kills all its programs with it. If the host delegates a
// control group, runner and programs are in one below it.
func startRunner(programs []program.Program, who identity, server int, command []string, isolate bool) (runnerEnds, error) {
	policy, err := runner.PolicyFile(programs)
	if err != nil {
		return runnerEnds{}, err
	}
	defer policy.Close()
	group, err := programsGroup(who, server)
	if err != nil {
		group = nil // without one, the supervisors and the runner end all processes
	}
	defer group.Close()
	if isolate {
		ends, complete, err := tryRunner(policy, group, command, unix.CLONE_NEWPID|unix.CLONE_NEWNS)
		if complete || err != nil && !refusedNamespace(err) {
			return ends, err
		}
	}
	ends, _, err := tryRunner(policy, group, command, 0)
	return ends, err
}

// refusedNamespace reports whether the host does not allow new namespaces, such as
// by RestrictNamespaces= of a unit.
func refusedNamespace(err error) bool {
	return slices.ContainsFunc([]error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS}, func(e error) bool { return errors.Is(err, e) })
}

// tryRunner starts a runner, and waits until it has prepared its namespaces. Complete
// is false if it cannot: it has ended then.
func tryRunner(policy *os.File, group *runner.Group, command []string, namespaces uintptr) (ends runnerEnds, complete bool, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return ends, false, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), runnerName)
	defer theirs.Close()
	var life [2]int
	if err := unix.Pipe2(life[:], unix.O_CLOEXEC); err != nil {
		unix.Close(pair[0])
		return ends, false, os.NewSyscallError("pipe2", err)
	}
	lifeline := os.NewFile(uintptr(life[1]), runnerLife)
	defer lifeline.Close()
	ends = runnerEnds{pair[0], life[0], -1, -1, -1}
	defer func() {
		if err != nil || !complete {
			ends.close()
		}
	}()
	read, write, err := os.Pipe()
	if err != nil {
		return ends, false, err
	}
	defer read.Close()
	cmd := exec.Command("/proc/self/exe", command...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	files := map[string]*os.File{runnerName: theirs, runnerLife: lifeline, runnerPolicy: policy, runnerStatus: write}
	if group != nil {
		files[runnerGroups] = group.Dir
	}
	passFiles(cmd, files)
	// A signal from the terminal is for the server, with which the process ends. In the
	// server's session, the server may send it SIGCONT.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: namespaces, PidFD: &ends.process}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return ends, false, err
	}
	if ends.process < 0 {
		return ends, false, errors.New("the kernel has no pidfd, which Linux 5.4 has")
	}
	b := make([]byte, 1)
	if n, _ := read.Read(b); n != 1 || b[0] != ready {
		ends.close() // with which the process ends, if it has not yet
		if state := cmd.Wait(); namespaces == 0 {
			return ends, false, cmp.Or(state, errors.New("it has ended"))
		}
		return ends, false, nil
	}
	if group != nil {
		// Copies, which no finalizer closes. The lock is also theirs.
		if ends.kill, err = unix.FcntlInt(group.Kill.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return ends, false, os.NewSyscallError("fcntl", err)
		}
		if ends.events, err = unix.FcntlInt(group.Events.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return ends, false, os.NewSyscallError("fcntl", err)
		}
	}
	return ends, true, nil
}

func (e *runnerEnds) close() {
	for _, fd := range []*int{&e.socket, &e.lifeline, &e.process, &e.kill, &e.events} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
}

// takeRunners takes over the descriptors of runners, by the numbers of their users.
func (in inheritance) takeRunners() (links map[int]runner.Link, err error) {
	links = map[int]runner.Link{}
	for name := range maps.Clone(in.descriptors) {
		uid, err := strconv.Atoi(strings.TrimPrefix(name, runnerName))
		if !strings.HasPrefix(name, runnerName) || err != nil {
			continue
		}
		var l runner.Link
		for _, end := range []struct {
			name string
			to   **os.File
		}{{name, &l.Socket}, {name + runnerLife, &l.Lifeline}, {name + runnerPID, &l.Process}} {
			if *end.to, err = in.file(end.name); err != nil {
				return links, err
			}
		}
		if in.has(name + runnerKill) {
			l.Group = &runner.Group{}
			if l.Group.Kill, err = in.file(name + runnerKill); err != nil {
				return links, err
			}
			if l.Group.Events, err = in.file(name + runnerEvents); err != nil {
				return links, err
			}
		}
		links[uid] = l
	}
	return links, nil
}

// Runners waits until the runners that Split has started have begun, and returns them.
// It fails if they know other programs than these, which are those of the
// configuration as the server has read it. It returns nil if there are no programs. It
// must be called once.
func (r Resumed) Runners(programs []program.Program) (_ *runner.Runners, err error) {
	defer func() {
		for _, l := range r.runners {
			l.Close()
		}
	}()
	server, err := serverUser("")
	if err != nil {
		return nil, err
	}
	all, _, err := byUser(programs, server)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(r.runners))) {
		return nil, runner.ErrOtherConfiguration
	}
	if len(all) == 0 {
		return nil, nil
	}
	var conns []*runner.Conn
	for _, uid := range slices.Sorted(maps.Keys(all)) {
		l := r.runners[uid]
		delete(r.runners, uid)
		c, err := runner.Connect(l, all[uid])
		if err != nil {
			return nil, err // the runners notice the end of this process
		}
		conns = append(conns, c)
	}
	return runner.NewRunners(conns...), nil
}
