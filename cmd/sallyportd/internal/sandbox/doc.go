// Package sandbox takes away from a process of the server what it does not need: system
// calls, with seccomp(2), and files, with Landlock, from one that opens none. The process applies its profile once it has dropped its
// privileges, and before it reads a byte of a stranger or of another process:
//
//	serve                        Server
//	firewall-helper, hold        Holder
//	capture-helper               Capturer
//
// A profile has three lists (calls_linux*.go):
//
//	allowed    the calls that the Go runtime and the process need; for socket(2),
//	           some families; for clone(2), threads only
//	fatal      the calls of an attack: the kernel ends the process (SIGSYS)
//	others     the call fails with ENOSYS, also a call that is newer than this list
//
// The numbers are those of x/sys, which the compiler checks for each processor. Tables
// of names, as in libraries for this, would be made before main in each process.
//
// A runner has no profile: its programs would inherit it, and may need any call.
//
// The filter holds for all threads, and cannot be removed.
package sandbox
