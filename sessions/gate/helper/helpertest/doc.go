// Package helpertest runs a helper in the process of a test, instead of in a
// process of its own. Client and helper are connected as they always are: by a
// socket pair, and by a pipe that closes when the helper ends.
//
//	Start      a helper that is ready, and its client
//	StartIn    a helper in another namespace
//	Serve      a helper whose first answer the test reads itself
//	Stop       an orderly end
//
// Linux only.
package helpertest
