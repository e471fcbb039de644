package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Close gives up the runner, which then stops all programs: SIGTERM, and SIGKILL after
// StopAfter. It waits until no process of it is left, or ctx ends; with a control
// group, all are then killed: a program can have stopped the runner.
func (c *Conn) Close(ctx context.Context) error {
	c.giveUp(nil)
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		if g := c.link.Group; g != nil {
			g.End(killTime) // an error: it has just ended, or this one is returned
			select {
			case <-c.ended:
				return nil
			case <-time.After(killTime):
			}
		}
		return fmt.Errorf("end of the programs: %w", context.Cause(ctx))
	}
}

// giveUp gives up the runner, which notices that.
func (c *Conn) giveUp(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = ErrLost
	if why != nil {
		c.err = fmt.Errorf("%w: %w", ErrLost, why)
	}
	c.conn.Close()
	close(c.lost)
}

// awaitEnd waits until no process of a runner that was given up is left, and then ends
// the runs that the runner has not reported.
func (c *Conn) awaitEnd() {
	<-c.lost
	go c.wakeUntil(c.ended)
	c.link.Lifeline.Read(make([]byte, 1)) // the only event is the end
	var info unix.Siginfo
	for {
		// Without that, the runner stays as a zombie.
		err := unix.Waitid(unix.P_PIDFD, int(c.link.Process.Fd()), &info, unix.WEXITED, nil)
		if err != unix.EINTR {
			break
		}
	}
	if g := c.link.Group; g != nil {
		for errors.Is(g.End(killTime), errLeft) { // what a killed supervisor has left
		}
	}
	c.link.Close()
	reapAdopted()
	c.mu.Lock()
	runs := c.runs
	c.runs = nil
	c.mu.Unlock()
	for _, r := range runs {
		r.end(c.Err())
	}
	close(c.ended)
}

// wakeUntil continues the runner until a channel is closed: a program, which has the
// same user, can stop it by SIGSTOP. To one that runs, that is nothing.
func (c *Conn) wakeUntil(done <-chan struct{}) {
	for pause := time.NewTicker(wakePause); ; {
		if raw, err := c.link.Process.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { unix.PidfdSendSignal(int(fd), unix.SIGCONT, nil, 0) })
		}
		select {
		case <-pause.C:
		case <-done:
			pause.Stop()
			return
		}
	}
}

// reapAdopted reaps the supervisors of a runner that has ended, if this process has
// adopted them, as the first process of a container does. It reaps nothing that runs.
func reapAdopted() {
	if os.Getpid() != 1 {
		return
	}
	time.Sleep(maxSweep) // a process that ends closes its pipe before it can be reaped
	pids, err := children()
	if err != nil {
		return
	}
	for _, pid := range pids {
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}
