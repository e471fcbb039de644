// Package holdertest runs a holder in the process of a test, instead of in a
// separate process. Server and holder are connected as usual: by a socket pair,
// and by a pipe that closes when the holder ends.
//
//	Start      a holder that is ready, and the connection to it
//	StartIn    a holder in another namespace
//	Serve      a holder whose first reply the test reads itself
//	Stop       an orderly end
//
// Linux only.
package holdertest
