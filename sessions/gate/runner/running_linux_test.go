package runner

import (
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/program"
)

// TestStopDuringStart: a program that is stopped before its supervisor has executed it
// gets its SIGTERM all the same: the supervisor has no process to which it could send an
// earlier one. SIGKILL comes in time after the stop.
func TestStopDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		r := &running{
			runner:  &runner{Config: Config{Clock: clocktest.NewHost().Clock(), Log: slog.New(slog.DiscardHandler)}, children: family{own: map[int]bool{}}},
			program: program.Program{StopAfter: time.Minute}, stopped: make(chan struct{}),
		}
		commands := make(chan byte, 10)
		go func() { // the supervisor
			b := make([]byte, 2)
			for {
				n, err := theirs.Read(b)
				if err != nil {
					return
				}
				for _, c := range b[:n] {
					commands <- c
				}
			}
		}()
		received := func() (all string) {
			synctest.Wait()
			for len(commands) > 0 {
				all += string(rune(<-commands))
			}
			return all
		}
		done := make(chan error, 1)
		go func() { done <- r.attend(&supervised{control: ours}) }()
		r.stop()
		if got := received(); got != "" {
			t.Errorf("commands %q before the program was started", got)
		}
		time.Sleep(time.Second)
		theirs.Write(report{kind: reportStarted, pid: 4711}.append(nil))
		if got := received(); got != "t" {
			t.Errorf("commands %q after the start", got)
		}
		time.Sleep(time.Minute - time.Second)
		if got := received(); got != "k" {
			t.Errorf("commands %q after the time", got)
		}
		theirs.Close()
		<-done
	})
}
