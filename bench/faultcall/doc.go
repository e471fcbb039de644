// Package faultcall runs a program whose system calls fail, or do not return, from the
// moment that a test chooses.
//
//	New     chooses system calls; Prefix is the command in front of the program's
//	Main    is that command: it puts a filter of system calls before itself, hands the
//	        filter's listener to the test, and becomes the program
//	Fail    from here on, these calls fail with an error number
//	Hang    from here on, these calls do not return
//	Heal    ends both: calls that hang are executed
//
// The kernel asks the test before it executes one of the chosen calls (seccomp's user
// notification). All processes that the program starts have the filter too. The test must
// run in its own namespace (see netns.Enter): only there it may install the filter.
//
// Linux only.
package faultcall
