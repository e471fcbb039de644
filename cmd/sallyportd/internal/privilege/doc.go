// Package privilege sheds what the server was started with, and keeps apart
// what needs more.
//
//	serve, as root
//	  Split    starts the holder, if the configuration requires one
//	    -> the holder      sallyportd firewall-helper: drop to CAP_NET_ADMIN,
//	                       Hold owns the firewall's table
//	  drop     executes the same program again, with the capabilities that the
//	           server keeps (most often none), and as the configured user
//	-> serve, again
//	  Resume   takes over the descriptors that lead to the holder, by their names
//
// Descriptors go from one program to the next in an environment variable, as
// NAME=NUMBER pairs.
package privilege
