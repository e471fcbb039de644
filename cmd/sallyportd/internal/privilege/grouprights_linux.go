package privilege

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/gate/runner"
)

// The runner makes a control group for each run, below the one that the server makes for
// it, and moves supervisors there. For both it needs to write to the directory and to
// cgroup.procs. All other files, such as cgroup.kill, stay those of the server's user.
//
//	with CAP_CHOWN      both belong to the user of the runner
//	without             both belong to the primary group of that user, which may write;
//	                    the group must have no other members

// makeGroup makes a control group with the first free name of a prefix. All its files
// belong to a group: the kernel gives them the group for file access of the thread, so that
// no capability to change the owner of files is required.
func makeGroup(own *os.File, prefix string, gid int) (g *runner.Group, name string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine: no other goroutine has this group.
		runtime.LockOSThread()
		unix.SetfsgidRetGid(gid)
		if is, _ := unix.SetfsgidRetGid(-1); is != gid { // the call reports no error
			err = fmt.Errorf("setfsgid: %w", unix.EPERM)
			return
		}
		for n := range 16 {
			name = fmt.Sprint(prefix, n)
			if g, err = runner.MakeGroup(own, name); !errors.Is(err, unix.EEXIST) {
				return
			}
		}
	}()
	<-done
	return g, name, err
}

// hand gives the user of a runner the rights that it needs in its control group.
func hand(g *runner.Group, who identity, server int) error {
	const procs = "cgroup.procs"
	dir := int(g.Dir.Fd())
	err := unix.Fchown(dir, who.uid, who.gid)
	if err == nil {
		return unix.Fchownat(dir, procs, who.uid, who.gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	if !secretfile.GroupOnlyOf(who.gid, who.uid, server, 0) {
		return fmt.Errorf("group %s has other members than its user: they could move processes", groupName(who.gid))
	}
	return errors.Join(unix.Fchmod(dir, 0o775), unix.Fchmodat(dir, procs, 0o664, 0))
}
