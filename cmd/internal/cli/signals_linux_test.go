package cli

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHandOver: a signal that came before ends the context, so that no program that is
// executed next runs on although it was asked to stop. Later ones do not.
func TestHandOver(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := make(chan os.Signal, 1) // else they would end this process
	signal.Notify(own, syscall.SIGTERM)
	defer signal.Stop(own)
	ask := func() {
		t.Helper()
		if err := unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	exit := func() { t.Error("exited") }
	for range 200 {
		ctx, handOver := signalContext(exit)
		ask()
		handOver()
		if ctx.Err() == nil {
			t.Fatal("the signal was lost")
		}
		<-own
	}
	ctx, handOver := signalContext(exit)
	handOver()
	ask()
	<-own
	if ctx.Err() != nil {
		t.Error("a signal ended the context of a command that handles signals itself")
	}
	handOver()
}
