// Package keyprogram runs the programs that hold a client's secret: a password manager
// that prints it (secret_command), or a program that computes its HMACs with a device
// (mac_command).
//
//	Secret.Sign -> run once -> standard output: the secret     -> HMACs in memory
//	MAC.Sign    -> start    -> standard input:  hex of a message, a line each
//	                           standard output: hex of its HMAC-SHA256, in the same order
//
// A Program is started without a shell, so nothing in its words is special. It runs with
// the user's environment and terminal, in the process group of the client: it can ask for
// a PIN on /dev/tty, and gets the terminal's Ctrl-C. Its standard input never is the
// client's.
//
// A mac_command is started for the first message, and kept: it gets all later ones. Sign
// holds a lock, and one goroutine reads the answers. A program that has ended since its
// last answer is started again; one that fails, answers wrongly or takes too long is
// killed, and the error is that of Sign. Close, and the end of the client's process,
// close its standard input. Close then kills it, unless it ends.
//
// The standard output of a program is secret: no error, log or JSON has it. The end of its
// standard error, 4 KiB, is shown if it fails.
package keyprogram
