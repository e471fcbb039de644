package carriers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Cause is why a message drew no challenge.
type Cause uint8

// The causes. With those up to NoResolver, nothing has answered.
const (
	NoName        Cause = iota + 1 // the name of the host has no address, or cannot be resolved
	Unreachable                    // no connection to the host, or to the proxy
	TimedOut                       // no answer in time
	NoResolver                     // no resolver answers
	NotTLS                         // a host answered, and not by TLS
	TLSRefused                     // a host answered by TLS, and ended the handshake
	Certificate                    // the certificate is not valid
	ProxyLogin                     // the proxy requires a login (407)
	ProxyRefuses                   // the proxy refuses a connection to the host
	ProxyTLS                       // the setting of the proxy requires TLS, and its TLS fails
	Redirected                     // an answer leads to another URL
	Portal                         // the network requires a login (511), or an answer that is not encrypted redirects
	Refused                        // the site, or something in front of it, refuses POST and GET
	Busy                           // too many requests (429)
	Gateway                        // something in front of the site gets no answer from it
	OtherPage                      // the answer is no challenge
	ResolverFails                  // the resolver answers that it cannot find the zone's servers, or refuses
	NoRecord                       // the answer to each query is that there is no record
	Rewritten                      // the answer to a query is one that no server of the protocol gives
	Forged                         // the answer has the form of a challenge, and the caller did not accept it
)

// Silent reports whether nothing has answered.
func (c Cause) Silent() bool { return c <= NoResolver }

// Fault is the error of a message that drew no challenge.
type Fault struct {
	Cause  Cause
	By     string // the host, the proxy or the resolver that has answered
	Status int    // of an HTTP answer; 0: none
	Err    error  // may be nil
}

func (f *Fault) Error() string {
	switch {
	case f.Cause == TimedOut && errors.Is(f.Err, context.DeadlineExceeded):
		return f.By + " did not answer in time"
	case f.Err != nil:
		return Line(f.Err)
	case f.Cause == Forged:
		return f.By + " answered with a challenge that is not authentic"
	case f.Status != 0:
		return fmt.Sprintf("%s answered with the status %d, and no challenge", f.By, f.Status)
	}
	return fmt.Sprintf("%s answered without a challenge", f.By)
}

func (f *Fault) Unwrap() error { return f.Err }

// maxLine is the maximum length of what Line returns, in characters.
const maxLine = 240

// Line returns the text of an error that may repeat what any host has sent, such as the
// names of a certificate: on one line of printable characters, so that it cannot pass for
// other lines of the program.
func Line(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, err.Error())
	if all := []rune(text); len(all) > maxLine {
		return string(all[:maxLine]) + " …"
	}
	return text
}
