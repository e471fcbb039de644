// Package opening measures how long a decision takes to become an open door,
// for each type of service: from the call that hands the decision to the gate
// to its return, after which the client gets in. The doors are those of the
// server, on sockets and a firewall of the namespace that the caller is in; the
// firewall is changed by way of the helper's protocol.
package opening
