// Package looks measures what a stranger can see of hidden ports: the answers to its
// probes, their header bits, and the distributions of their times.
//
//	Run        a server's host and another, connected by a link; on the first a server
//	           with a service for each look, all behind the firewall: one without stealth,
//	           and then one with it
//	  wire     a packet socket on the other host: it sends probes, and receives each packet
//	           that comes back, with the kernel's time of its arrival
//	  phases   without a server, and before, during and after another client's lease. In
//	           each phase, probes to the hidden ports, to a live knock port and to a closed
//	           port take turns, in a random order
//	  replays  a sequence that has opened the services, sent again at full rate
//	  limits   how many ICMP errors a second the kernel sends, to one address and to all
//	  scans    for the live knock port, from many addresses; and off the path: by forged
//	           addresses, with the kernel's limit as the only sign
//	Result     a row for each family, look and probe
//
// A probe waits for no timeout. A SYN to a closed port follows it, on the same path, and its
// reset comes last. Linux only, except for Result and the packets.
package looks
