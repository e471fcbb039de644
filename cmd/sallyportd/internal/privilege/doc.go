// Package privilege drops what the server was started with, and keeps apart what
// needs more.
//
//	serve, as root
//	  Split    starts a holder, if the configuration requires one and none answers
//	    -> the holder      sallyportd firewall-helper: drop to CAP_NET_ADMIN,
//	                       HoldFor waits until the server begins, and then owns
//	                       the firewall's table until the server ends
//	  drop     executes the same program again, with the capabilities that the
//	           server keeps (most often none), and as the configured user, with
//	           the user's groups
//	-> serve, again
//	  Resume   takes over the descriptors that lead to the holder, by their names,
//	           and verifies what was dropped; VerifyUser the user
//
//	firewall hold
//	  HoldAlone  drop to CAP_NET_ADMIN; owns the firewall's table at once, and
//	             serves one server after another at a socket
//
// Descriptors go from one program to the next in an environment variable, as
// NAME=NUMBER pairs. One process of a network namespace guards the table at a time
// (package guard): the next one waits for its end.
package privilege
