// Package privilege drops the privileges that the server was started with, and
// puts the parts that require privileges into other processes.
//
//	serve, as root
//	  Split    starts a holder, if the configuration requires one and none answers
//	    -> the holder      sallyportd firewall-helper: drop to CAP_NET_ADMIN, and
//	                       CAP_BPF for the shield; HoldFor waits until the server
//	                       begins, and then owns the firewall's table, and loads
//	                       the shield, until the server ends
//	           opens the sockets that capture packets, if the configuration requires
//	           them, locks their filters, and starts a capturer
//	    -> the capturer    sallyportd capture-helper: drop to no capability at all;
//	                       CaptureFor hands packets to the server, and sends its
//	                       answers, until the server ends (package capture)
//	           starts a runner for each user of programs, if the configuration has some,
//	           and passes it their programs in a sealed file
//	    -> the runner      sallyportd program-helper: drop to that user and to no
//	                       capability, in a namespace of processes if the host permits
//	                       one; then package runner serves until the server ends
//	  dropAndReexec
//	           executes the same program again, with the descriptors of the service
//	           manager's store (package moved), and with the capabilities that the
//	           server keeps (most often none), and as the configured user, with
//	           the user's groups
//	-> serve, again
//	  Resume   takes over the descriptors that connect it to all, by their names,
//	           and verifies that privileges were dropped; VerifyUser verifies the user,
//	           and Runners that the runners know the programs of the configuration
//
//	firewall hold
//	  HoldAlone  drop as above; owns the firewall's table at once, and serves
//	             one server after another at a socket
//
// Before a holder claims the table, Held.Trial decides which services are on trial, and
// records a trial that begins (package trial). The holder logs the end of each, which the
// kernel brings about.
//
// A process that has CAP_SYS_ADMIN instead of CAP_BPF, because a container engine knows
// no other, loads the shield before it drops that, and passes the descriptors on: with
// CAP_NET_ADMIN alone, the holder can attach the program.
//
// Split also makes a control group for each runner, if the host delegates one
// (group_linux.go).
//
// Descriptors go from one program to the next in an environment variable, as
// NAME=NUMBER pairs. One process of a network namespace guards the table at a time
// (package guard): the next one waits for its end.
package privilege
