package runner

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/program"
)

// BenchmarkRun is a run of a program that ends at once, from Start to its end, in a
// process of this test's size: CPU time of supervisor and program included.
func BenchmarkRun(b *testing.B) {
	for _, step := range []bool{false, true} {
		name := "step=no"
		p := program.Program{ID: program.ID{Service: "site", Role: program.OnOpen}, User: "nobody", Args: []string{"/bin/true"}, Dir: "/"}
		if step {
			name, p.Limits.Memory = "step=yes", 1<<40
		}
		b.Run(name, func(b *testing.B) { benchmarkRun(b, p) })
	}
}

func benchmarkRun(b *testing.B, p program.Program) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	life, lifeline, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	// In this process: its children are all of the runner.
	done := make(chan error, 1)
	go func() {
		done <- Serve(os.NewFile(uintptr(pair[1]), "server"), Config{
			Programs: []program.Program{p}, Lifeline: lifeline, Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
		lifeline.Close()
	}()
	fd, err := unix.PidfdOpen(os.Getpid(), 0) // no child: Connect reaps nothing
	if err != nil {
		b.Fatal(err)
	}
	c, err := Connect(Link{os.NewFile(uintptr(pair[0]), "runner"), life, os.NewFile(uintptr(fd), "process"), nil}, []program.Program{p})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Begin(b.TempDir()); err != nil {
		b.Fatal(err)
	}
	var before, after [2]unix.Rusage
	usage := func(u *[2]unix.Rusage) {
		unix.Getrusage(unix.RUSAGE_SELF, &u[0])
		unix.Getrusage(unix.RUSAGE_CHILDREN, &u[1])
	}
	usage(&before)
	for b.Loop() {
		r, err := c.Start(program.Request{Program: p.ID})
		if err != nil {
			b.Fatal(err)
		}
		if <-r.Done(); r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
	usage(&after)
	var used int64
	for i := range before {
		used += after[i].Utime.Nano() + after[i].Stime.Nano() - before[i].Utime.Nano() - before[i].Stime.Nano()
	}
	b.ReportMetric(float64(used)/float64(b.N)/1e6, "CPU-ms/run")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
