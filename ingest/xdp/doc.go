// Package xdp refuses datagrams at the network driver, by the table of knock rules, and
// hands those that pass to the server in rings, past the UDP stack of the kernel.
//
//	holder (CAP_BPF, CAP_NET_ADMIN)          server (no capability)
//	Load      program and arrays             Map       maps the arrays by descriptor
//	Attach    to interfaces, by links        Shield    a tier: writes the rules
//	                                         Ring      reads the datagrams that passed
//
// The server makes no bpf(2) call, and never gets the descriptor of a link. When the
// holder dies, the kernel detaches the program, and datagrams arrive at the sockets.
//
// A Shield writes each change so that the program accepts what the rules of before and
// of after accept, after each single store, and while entries move:
//
//	rows         a changed port gets another row, complete before the port's number
//	identifiers  new ones first, then the old ones go; an entry that moves to its
//	             other bucket is in both for a moment, and the program looks at the
//	             first bucket again
//	filter       new bits after the entry; old bits go last
//	marks        the highest nonces, which the floors of the key table raise
//	             (verify.Floor); 0, which any nonce passes, while one is not known
//
// When something is full, it passes: a port without a row and a row without room go to
// the socket; if an identifier finds no entry, any identifier passes. Only a full ring
// drops.
//
// The rotation goroutine of the receiver owns a Shield, and each of its readers a Ring.
// The memory is shared with the kernel: a Ring uses no number from it as an index before
// it has checked it.
//
// layout.go has the arrays that both share; bpf/ has the program.
package xdp
