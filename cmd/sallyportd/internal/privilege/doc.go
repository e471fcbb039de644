// Package privilege drops the privileges that the server was started with, and
// puts the parts that require privileges into other processes.
//
//	serve, as root
//	  Split    starts a holder, if the configuration requires one and none answers
//	    -> the holder      sallyportd firewall-helper: drop to CAP_NET_ADMIN,
//	                       HoldFor waits until the server begins, and then owns
//	                       the firewall's table until the server ends
//	           opens the sockets that capture packets, if the configuration requires
//	           them, locks their filters, and starts a capturer
//	    -> the capturer    sallyportd capture-helper: drop to no capability at all;
//	                       CaptureFor hands packets to the server, and sends its
//	                       answers, until the server ends (package capture)
//	  dropAndReexec
//	           executes the same program again, with the capabilities that the
//	           server keeps (most often none), and as the configured user, with
//	           the user's groups
//	-> serve, again
//	  Resume   takes over the descriptors that connect it to both, by their names,
//	           and verifies that privileges were dropped; VerifyUser verifies the user
//
//	firewall hold
//	  HoldAlone  drop to CAP_NET_ADMIN; owns the firewall's table at once, and
//	             serves one server after another at a socket
//
// Descriptors go from one program to the next in an environment variable, as
// NAME=NUMBER pairs. One process of a network namespace guards the table at a time
// (package guard): the next one waits for its end.
package privilege
