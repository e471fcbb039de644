// Package sandbox takes away from a process of the server what it does not need: system
// calls, with seccomp(2), and files, with Landlock. The process applies its profile once it
// has dropped its privileges, and before it reads a byte of a stranger or of another process:
//
//	serve                        Server      the files of the configuration
//	firewall-helper, hold        Holder      the configuration, port secrets, the state
//	capture-helper               Capturer    no file
//
// What stays of files is directories (files.go, system.go), because files are replaced. It is
// decided once: a reload that names a file elsewhere must fail as a whole, which Report
// decides before the file is opened. There is no right to execute, and none for ports.
//
// A profile has three lists of system calls (calls_linux*.go):
//
//	allowed    the calls that the Go runtime and the process need; for socket(2),
//	           some families; for clone(2), threads only
//	fatal      the calls of an attack: the kernel ends the process (SIGSYS)
//	others     the call fails with ENOSYS, also a call that is newer than this list
//
// The numbers are those of x/sys, which the compiler checks for each processor. Tables
// of names, as in libraries for this, would be made before main in each process.
//
// A runner has no profile: its programs would inherit it, and may need any call, and any
// file. It is started before the server applies its own.
//
// Both hold for all threads, and cannot be removed. The kernel shows no other process that
// Landlock holds: so each process reports what is in force in it.
package sandbox
