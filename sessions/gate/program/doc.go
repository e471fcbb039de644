// Package program runs the operator's programs for the services of the gate: a server
// that runs while a service has leases, and commands that run when a lease begins or
// ends. Nothing here starts a process: a Starter does (package runner).
//
//	gate.Service
//	  -> Backend     backend.go: one run at a time, as long as it is needed
//	       life      life.go: when it starts and stops, as a pure function
//	       probe     probe.go: whether it accepts connections; only then the gate opens
//	  -> Commands    commands.go: of all services
//	       queue     queue.go, pick.go: which command is next, as a pure function
//	       Record    record.go: the closing commands that must still run, on disk
//	                 before the lease opens; leases that begin meanwhile share a write
//	       execute   execute.go: one goroutine for each command that runs; stop.go: the end
//
// The commands of a lease:
//
//	toRecord -> toOpen -> opening -> open -> toClose -> closing -> finished
//	                         \----- it failed ----^  ^---- it failed, and is tried again
//
// A lease that ends before opening has begun runs nothing. After that, its closing
// command runs until it has succeeded, whatever happens: the next start runs those that
// a crash, or a stop, has left.
//
// An insider can make leases at any rate, from any source address. The constants of
// queue.go bound what that costs: at a bound, new leases do not begin; closing commands
// are never refused, since each lease has counted for the bound since it began.
package program
